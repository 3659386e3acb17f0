package docs

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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
	var root, project schema
	if err := errors.Join(json.Unmarshal(confdir.Schema(), &root), json.Unmarshal(confdir.ProjectSchema(), &project)); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("config.md")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for key := range project.Properties {
		root.Properties[key] = project.Properties[key]
	}
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

// files calls visit for every file of the repository with one of the endings; path is relative to its root.
func files(t *testing.T, visit func(path, text string), endings ...string) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if d != nil && strings.HasPrefix(d.Name(), ".git") && d.Name() != ".github" {
				return filepath.SkipDir
			}
			return err
		}
		if slices.Contains(endings, filepath.Ext(path)) {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			visit(strings.TrimPrefix(filepath.ToSlash(path), "../"), string(text))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestLinks: what the pages link to exists.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)
	files(t, func(path, text string) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			to := filepath.Join("..", filepath.Dir(path), m[1])
			if _, err := os.Stat(to); err != nil && !strings.Contains(m[1], "://") {
				t.Errorf("%s links to %s, which does not exist", path, m[1])
			}
		}
	}, ".md")
}

// TestCitedPages: a page that a comment or a script cites by its path exists.
func TestCitedPages(t *testing.T) {
	cited := regexp.MustCompile(`\b(docs/[\w/.-]+\.md)\b`)
	count := 0
	files(t, func(path, text string) {
		for _, m := range cited.FindAllStringSubmatch(text, -1) {
			count++
			if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
				t.Errorf("%s cites %s, which does not exist", path, m[1])
			}
		}
	}, ".go", ".txt", ".txtar")
	if count < 50 {
		t.Errorf("only %d citations were found", count)
	}
}

// TestDependenciesHaveReasons: every module that go.mod requires stands on the page that says why.
func TestDependenciesHaveReasons(t *testing.T) {
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^\t(\S+) v`).FindAllSubmatch(mod, -1)
	if len(found) < 6 {
		t.Fatalf("go.mod has only %d modules", len(found))
	}
	for _, m := range found {
		name := regexp.MustCompile(`(/v\d+)?$`).ReplaceAllString(string(m[1]), "")
		if last := name[strings.LastIndex(name, "/")+1:]; !strings.Contains(string(page), last) {
			t.Errorf("dependencies.md does not say why %s is required", name)
		}
	}
}
