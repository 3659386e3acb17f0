package journal

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/zinit/zinit/supervisor/machine"
)

var update = flag.Bool("update", false, "write the golden file of this version anew")

// everything is a state with something in every field.
func everything() *State {
	reason := func(n int32) machine.Reason {
		return machine.Reason{Type: machine.ReasonSignal, Code: n, Signal: 9, Attempts: 3, Service: "db", Kind: "oom", Detail: "of no memory"}
	}
	r := machine.Record{Name: "a", Gone: true, State: machine.Stopping, WantedUp: true, HeldDown: true, Due: true, Gen: 1 << 40, PID: 77,
		Phase: 2, Result: reason(-1), ResultOK: true, Reason: reason(7), Since: 11, ReadyAt: 12, SpawnedAt: 13, StopAt: 14, Restarts: 15,
		Backoff: 16, NextRestart: 17, Flags: 1 << 31, Extra: []int64{0, -5, 1 << 60}, LastProbe: "connection refused",
		LastExit: machine.LastExit{Valid: true, Status: machine.Status{Code: 1, Signal: 2, Core: true, OOM: true, Unknown: true}, At: 18},
		Conflict: &machine.Conflict{Port: 80, Filter: "f", PID: 4, Process: "nginx", Service: "web"}, Job: []int64{5, 0, 1, 2, -1}}
	return &State{Version: Version, Globals: machine.Globals{NextGen: 1<<40 + 1, ShuttingDown: true, HaltCode: 3},
		Records: []machine.Record{r, {Name: "b", State: machine.Running, Gen: 2}}, Notes: map[string][]byte{"k": []byte("v"), "none": {}},
		Definitions: []Definition{{Name: "a", Doc: []byte("[service]\nname = \"a\"\n"), Source: "/etc/a.toml", Ephemeral: true}}}
}

// store writes a state into a journal.
func store(t *testing.T, j *Journal, s *State) {
	t.Helper()
	for _, d := range s.Definitions {
		if err := j.Define(d.Name, d.Doc, d.Source, d.Ephemeral); err != nil {
			t.Fatal(err)
		}
	}
	for key, note := range s.Notes {
		if err := j.Note(key, note); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Services(s.Records, s.Globals); err != nil {
		t.Fatal(err)
	}
}

// TestGolden: what each version wrote is read for ever, with what the file beside it says. The file of a version is made
// once, when its release is made, and never again.
func TestGolden(t *testing.T) {
	dir := filepath.Join("testdata", "golden")
	if *update {
		j, err := Create()
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		j.slot.boot = [16]byte{} // any boot reads it
		if err := writeSlot(j.fd, &j.slot); err != nil {
			t.Fatal(err)
		}
		store(t, j, everything())
		expected, err := json.MarshalIndent(everything(), "", " ")
		if err != nil {
			t.Fatal(err)
		}
		for name, b := range map[string][]byte{"v2.journal": image(t, j)[:j.usedEnd()+8], "v2.json": append(expected, '\n')} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.journal"))
	if err != nil || len(files) != Version {
		t.Fatalf("%d golden files, want one for each of the %d versions (%v)", len(files), Version, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(strings.TrimSuffix(file, "journal") + "json")
		if err != nil {
			t.Fatal(err)
		}
		var want State
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
		j, got, err := reopen(t, b)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: %+v\nwant %+v", file, *got, want)
		}
		_ = j.Close()
	}
}

// TestEverythingIsKept: no field of a state is left out of the version that is written. What everything() leaves zero would
// pass unnoticed, so it must not.
func TestEverythingIsKept(t *testing.T) {
	r := reflect.ValueOf(everything().Records[0])
	for i := range r.NumField() {
		if r.Field(i).IsZero() {
			t.Errorf("the test says nothing about %s", r.Type().Field(i).Name)
		}
	}
	j, err := Create()
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	want := everything()
	store(t, j, want)
	for _, version := range []int{Version, FirstVersion, FirstVersion, Version} {
		if err := j.Convert(version); err != nil {
			t.Fatal(err)
		}
		if err := j.Note("more", []byte{byte(version)}); err != nil {
			t.Fatal(err)
		}
		again, got, err := reopen(t, image(t, j))
		if err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		want.Version, want.Notes["more"] = version, []byte{byte(version)}
		if version == FirstVersion {
			want.Records[0].Job = nil // it knew no jobs, and what it did not write is gone
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("version %d: %+v\nwant %+v", version, got, want)
		}
		_ = again.Close()
	}
}

// TestConvertManyTimes: converting takes no room for ever, and what is appended between is there.
func TestConvertManyTimes(t *testing.T) {
	j, _ := history(t, 25)
	defer j.Close()
	want, err := j.state()
	if err != nil {
		t.Fatal(err)
	}
	for n := range 40 {
		if err := j.Convert(FirstVersion + n%2); err != nil {
			t.Fatal(err)
		}
	}
	again, got, err := reopen(t, image(t, j))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	want.Version = got.Version
	for i := range want.Records {
		want.Records[i].Job = nil
	}
	if !reflect.DeepEqual(got, want) {
		t.Error("the state is another")
	}
	if size := len(image(t, j)); size > 20*minSegment {
		t.Errorf("the file has %d bytes", size)
	}
}
