package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// test is one test function that passes without a mutant.
type test struct {
	binary, dir, name string
	took              time.Duration
	reaches           []byte // a byte for each mutant
}

// suite is what can kill mutants, the quickest first.
type suite struct {
	tests []*test
	work  string
}

// outcome of one run of a test binary.
type outcome struct {
	passed, late bool
	output       []byte
}

// tests builds the test binaries and runs every test once alone, to see how long it takes and which mutants it reaches.
func (p *pkg) tests(work string, packages []string, tags string, mutants int, longest time.Duration) (*suite, error) {
	s := &suite{work: work}
	for i, pattern := range packages {
		dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", pattern).Output()
		if err != nil {
			return nil, fmt.Errorf("go list %s: %w", pattern, err)
		}
		t := test{binary: filepath.Join(work, strconv.Itoa(i)+".test"), dir: strings.TrimSpace(string(dir))}
		build := exec.Command("go", "test", "-c", "-tags", tags, "-overlay", p.overlay, "-o", t.binary, pattern)
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build the tests of %s: %w\n%s", pattern, err, out)
		}
		list := exec.Command(t.binary, "-test.list", ".")
		list.Dir = t.dir
		names, err := list.Output()
		if err != nil {
			return nil, fmt.Errorf("list the tests of %s: %w", pattern, err)
		}
		for _, name := range strings.Fields(string(names)) {
			if strings.HasPrefix(name, "Benchmark") {
				continue
			}
			t := t
			t.name = name
			reached := filepath.Join(work, "reached")
			if err := os.WriteFile(reached, make([]byte, mutants+1), 0o644); err != nil {
				return nil, err
			}
			begin := time.Now()
			if o := s.run([]*test{&t}, longest, "MUTANT_REACHED="+reached); o.late {
				fmt.Fprintf(os.Stderr, "%s of %s takes longer than %v and is left out\n", name, pattern, longest)
				continue
			} else if !o.passed {
				fmt.Fprintf(os.Stderr, "%s of %s fails without a mutant and is left out\n%s", name, pattern, o.output)
				continue
			}
			t.took = time.Since(begin)
			if t.reaches, err = os.ReadFile(reached); err != nil {
				return nil, err
			}
			s.tests = append(s.tests, &t)
		}
	}
	slices.SortStableFunc(s.tests, func(a, b *test) int { return cmp.Compare(a.took, b.took) })
	var total time.Duration
	for _, t := range s.tests {
		total += t.took
		if t.took > 3*time.Second {
			fmt.Fprintf(os.Stderr, "%s takes %v\n", t.name, t.took.Round(time.Millisecond))
		}
	}
	fmt.Fprintf(os.Stderr, "%s: %d mutants, %d tests in %v\n", p.path, mutants, len(s.tests), total.Round(time.Millisecond))
	return s, nil
}

// try runs the tests that reach a mutant until one fails. Each process runs about as long as all before it together.
func (s *suite) try(m *mutant) {
	var batch []*test
	var took, before time.Duration
	flush := func() bool {
		if len(batch) == 0 {
			return false
		}
		o := s.run(batch, 5*time.Second+5*took, "MUTANT="+strconv.Itoa(m.id))
		if !o.passed {
			m.late, m.killer = o.late, failed(o.output)
			return true
		}
		batch, before, took = nil, before+took, 0
		return false
	}
	for _, t := range s.tests {
		if t.reaches[m.id] == 0 {
			continue
		}
		m.reached = true
		if len(batch) > 0 && (batch[0].binary != t.binary || took+t.took > max(before, 300*time.Millisecond)) && flush() {
			return
		}
		batch, took = append(batch, t), took+t.took
	}
	flush()
}

// failed is the first test that an output says has failed.
func failed(output []byte) string {
	if _, rest, ok := bytes.Cut(output, []byte("--- FAIL: ")); ok {
		return string(bytes.Fields(rest)[0])
	}
	return "a crash or the time limit"
}

// run runs tests of one binary in a pid namespace, with a folder of their own for temporary files and with bounded memory.
// The shell is its process 1, as tests are not made to be one.
func (s *suite) run(tests []*test, limit time.Duration, env string) outcome {
	var names []string
	for _, t := range tests {
		names = append(names, t.name)
	}
	tmp, err := os.MkdirTemp(s.work, "t")
	if err != nil {
		return outcome{output: []byte(err.Error())}
	}
	defer os.RemoveAll(tmp)
	_ = os.Chmod(tmp, 0o755) // some tests become other users
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc",
		"sh", "-c", `ulimit -v 12000000; "$@"; exit $?`, "sh",
		tests[0].binary, "-test.short", "-test.failfast", "-test.run", "^("+strings.Join(names, "|")+")$")
	cmd.Dir = tests[0].dir
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, env)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return outcome{passed: err == nil, late: errors.Is(ctx.Err(), context.DeadlineExceeded), output: out}
}
