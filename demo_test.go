package main

import (
	"os"
	"strings"
	"testing"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/graph/confdir"
)

// TestDemo: the README's first command starts the stack in zinit.toml, which has no problem.
func TestDemo(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil || !strings.Contains(string(page), "```sh\ngo run . up ") {
		t.Errorf("the README does not begin with go run . up: %v", err)
	}
	loaded := confdir.Load([]string{"."}, confdir.Options{})
	for _, p := range loaded.Problems {
		if p.Severity != graph.SeverityNote {
			t.Error(p)
		}
	}
	if len(loaded.Configs) != 5 {
		t.Errorf("%d services and targets", len(loaded.Configs))
	}
}
