package docs

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/zinit/zinit/graph/confdir"
)

// schema is the part of JSON Schema that names keys.
type schema struct {
	Properties map[string]schema `json:"properties"`
}

// keys calls visit for every key below s.
func (s schema) keys(visit func(key string)) {
	for key, below := range s.Properties {
		visit(key)
		below.keys(visit)
	}
}

// TestConfigPageHasEveryKey: a key that can be written in a file stands on the page about files.
func TestConfigPageHasEveryKey(t *testing.T) {
	var root schema
	if err := json.Unmarshal(confdir.Schema(), &root); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("config.md")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	root.keys(func(key string) {
		count++
		if !regexp.MustCompile(`\b` + regexp.QuoteMeta(key) + `\b`).Match(page) {
			t.Errorf("config.md does not name the key %s", key)
		}
	})
	if count < 60 {
		t.Errorf("the schema has only %d keys", count)
	}
}

// TestLinks: what the pages link to exists.
func TestLinks(t *testing.T) {
	pages, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)#]+)\)`)
	for _, p := range pages {
		if !strings.HasSuffix(p.Name(), ".md") {
			continue
		}
		text, err := os.ReadFile(p.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(m[1]); err != nil && !strings.Contains(m[1], "://") {
				t.Errorf("%s links to %s, which does not exist", p.Name(), m[1])
			}
		}
	}
}
