package conform

import (
	"path/filepath"
	"testing"
)

const root = "../../testdata"

func TestTranscriptsLoad(t *testing.T) {
	for _, scenario := range []string{"basic", "errors", "framing", "logs"} {
		lines, err := Load(filepath.Join(root, "wire/transcripts", scenario+".jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		steps, err := LoadSteps(filepath.Join(root, "wire/cfg", scenario, "steps.json"), nil)
		if err != nil {
			t.Fatal(err)
		}
		requests := 0
		for _, step := range steps {
			if step.Sleep == 0 && step.Shell == "" {
				requests++
			}
		}
		if requests != len(lines) {
			t.Errorf("%s: %d requests, %d recorded", scenario, requests, len(lines))
		}
		if open := Compare(lines, lines); len(open) != 0 {
			t.Errorf("%s differs from itself: %v", scenario, open)
		}
	}
}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		name, want, got string
		path            string // of the only difference, "" = none
		soft, added     bool
	}{
		{"equal", `{"id":1,"result":true}`, `{"id":1,"result":true}`, "", false, false},
		{"pid is masked", `{"result":{"pid":5}}`, `{"result":{"pid":6}}`, "", false, false},
		{"pid 0 is not", `{"result":{"pid":0}}`, `{"result":{"pid":6}}`, ".result.pid", false, false},
		{"code", `{"error":{"code":-32603,"message":"a"}}`, `{"error":{"code":-32000,"message":"a"}}`, ".error.code", false, false},
		{"message", `{"error":{"code":1,"message":"a"}}`, `{"error":{"code":1,"message":"b"}}`, ".error.message", true, false},
		{"data", `{"error":{"code":1}}`, `{"error":{"code":1,"data":{"kind":"x"}}}`, ".error.data", true, true},
		{"added", `{"result":[{"a":1}]}`, `{"result":[{"a":1,"b":2}]}`, ".result[*].b", false, true},
		{"removed", `{"result":[{"a":1,"b":2}]}`, `{"result":[{"a":1}]}`, ".result[*].b", false, false},
		{"retyped", `{"result":"1"}`, `{"result":1}`, ".result", false, false},
		{"null", `null`, `{"id":1}`, "", false, false},
		{"length", `{"result":[1]}`, `{"result":[]}`, ".result.length", false, false},
		{"number form", `{"result":0.0}`, `{"result":0}`, "", false, false},
		{"big id", `{"id":18446744073709551615}`, `{"id":18446744073709551614}`, ".id", false, false},
		{"drawing", `{"result":{"ascii":"├─ [+] a (running)\n└─ b"}}`, `{"result":{"ascii":"└─ b\n├─ [+] a (running)"}}`, "", false, false},
	} {
		var want, got Line
		if decode([]byte(c.want), &want.Recv) != nil || decode([]byte(c.got), &got.Recv) != nil {
			t.Fatal(c.name)
		}
		found := Compare([]Line{want}, []Line{got})
		if c.name == "null" {
			if len(found) != 1 || found[0].Path != "" {
				t.Errorf("null: %v", found)
			}
			continue
		}
		if c.path == "" {
			if len(found) != 0 {
				t.Errorf("%s: %v", c.name, found)
			}
			continue
		}
		if len(found) != 1 || found[0].Path != c.path || found[0].Soft != c.soft || found[0].Added != c.added {
			t.Errorf("%s: %+v", c.name, found)
		}
	}
}

func TestDifferences(t *testing.T) {
	table, err := LoadDifferences(filepath.Join(root, "conform/DIFFERENCES.md"))
	if err != nil {
		t.Fatal(err)
	}
	if len(table) == 0 {
		t.Fatal("the table is empty")
	}
	seen := map[string]bool{}
	for _, known := range table {
		if seen[known.ID] {
			t.Errorf("%s stands there twice", known.ID)
		}
		seen[known.ID] = true
	}
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{".error.code", ".error.code", true},
		{".error.code", ".error.codes", false},
		{".result[*].text", ".result[*].text", true},
		{".result.*", ".result.pid", true},
		{".result.*", ".result.a.b", false},
	} {
		if got := matchPath(c.pattern, c.path); got != c.want {
			t.Errorf("%s against %s: %v", c.pattern, c.path, got)
		}
	}
}
