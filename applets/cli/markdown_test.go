package cli

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/zinit/zinit/docs"
)

// TestReadable: a page has no marks of Markdown left, and fits the terminal.
func TestReadable(t *testing.T) {
	got := readable("# Title\n\nText `x`.\n\n| a | b |\n|---|---|\n| one\\|two | three four five six |\n| 1 | 2 |\n\nEnd\n", 24, style{})
	want := `Title

Text ` + "`x`" + `.

  a        b

  one|two  three four
           five six

  1        2

End
`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if got := readable("| k | v |\n|---|---|\n| a | b |\n", 80, style{}); got != "  k  v\n  a  b\n" {
		t.Errorf("a small table: %q", got)
	}
	for _, width := range []int{0, 60, 80, 300} {
		page := readable(docs.Migration, width, style{})
		for line := range strings.Lines(page) {
			line = strings.TrimRight(line, "\n")
			table := strings.HasPrefix(line, "  ") && !strings.HasPrefix(line, "    ")
			if strings.HasPrefix(line, "|") || strings.HasPrefix(line, "#") || strings.Contains(line, "|---") || table && width > 0 && utf8.RuneCountInString(line) > width {
				t.Errorf("width %d: %q", width, line)
			}
		}
	}
	if got := wrap("abcdefghij kl", 4); strings.Join(got, "/") != "abcd/efgh/ij/kl" {
		t.Errorf("long words: %q", got)
	}
}
