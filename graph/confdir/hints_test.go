package confdir

import (
	"slices"
	"strings"
	"testing"
)

// TestHintsNameRealKeys: what is proposed exists, is proposed for one meaning only, and is not
// proposed to somebody who wrote a key of ours.
func TestHintsNameRealKeys(t *testing.T) {
	meaning := map[string]string{}
	for ours, words := range foreignKeys {
		in, key, _ := strings.Cut(ours, ".")
		if s := sectionOf(serviceSections(), in); s == nil || s.field(key) == nil {
			t.Errorf("%s is proposed and does not exist", ours)
		}
		for _, word := range words {
			if word != plainWord(word) {
				t.Errorf("%s: the word %s is never met", ours, word)
			}
			if other := meaning[word]; other != "" || foreignTexts[word] != "" {
				t.Errorf("%s means %s, and %s%s", word, ours, other, foreignTexts[word])
			}
			meaning[word] = ours
		}
	}
	for _, s := range serviceSections() {
		for _, f := range s.fields {
			if ours := meaning[plainWord(f.key)]; ours != "" && ours != s.name+"."+f.key && !slices.Contains([]string{"retries", "timeout"}, f.key) {
				t.Errorf("%s of [%s] is told to be %s", f.key, s.name, ours)
			}
		}
	}
}
