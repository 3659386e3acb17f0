// Mutate measures what the tests of a package notice. It makes many small faults ("mutants") in the package: a comparison
// off by one or turned round, an operand of && or || left out, + for -, a statement left out, a zero value returned. All of
// them go into one test binary, each behind a switch that an environment variable turns on, and the tests that reach
// a mutant run once with it. A mutant is killed when one of them fails or takes far too long.
//
//	go run ./internal/testkit/mutate [flags] PACKAGE [PACKAGE WITH MORE TESTS...]
//
// It ends with 1 when fewer than -floor percent are killed, or a mutant that lives is not named, with its reason, in -named.
//
// Every run of the tests is in a pid namespace of its own, so that a mutated kill hits no foreign process. That needs root
// and unshare(1).
package main

import (
	"bufio"
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

func main() {
	floor := flag.Float64("floor", 90, "fail when fewer than this `percentage` of the mutants are killed")
	namedFile := flag.String("named", "testdata/mutants.txt", "`file` of the mutants that may live, with the reasons")
	aliveFile := flag.String("alive", "", "write the mutants that live and are not named to this `file`")
	only := flag.String("only", "", "try only the mutants that this `file` lists (as -alive writes it)")
	match := flag.String("match", "", "try only the mutants whose line contains this `text`")
	tags := flag.String("tags", "urfave_cli_no_docs", "build `tags`")
	workers := flag.Int("workers", 2, "mutants tried at a time")
	longest := flag.Duration("longest", 15*time.Second, "leave out tests that take longer than this `time`")
	limit := flag.Duration("for", 0, "try no further mutant after this `time`; 0 = try all")
	flag.Parse()
	if flag.NArg() == 0 {
		fail(fmt.Errorf("mutate: no package given, for example ./supervisor/journal"))
	}
	pkg, err := load(flag.Arg(0), *tags)
	fail(err)
	named, err := readNamed(*namedFile)
	fail(err)
	work, err := os.MkdirTemp("", "mutate-")
	fail(err)
	defer os.RemoveAll(work)
	fail(os.Chmod(work, 0o755))
	mutants, err := pkg.mutate(work)
	fail(err)
	tests, err := pkg.tests(work, flag.Args(), *tags, len(mutants), *longest)
	fail(err)

	chosen := slices.Clone(mutants)
	if *only != "" {
		lines, err := readNamed(*only)
		fail(err)
		chosen = slices.DeleteFunc(chosen, func(m *mutant) bool { _, ok := lines[m.key]; return !ok })
	}
	chosen = slices.DeleteFunc(chosen, func(m *mutant) bool { return !strings.Contains(m.key, *match) })

	var wait sync.WaitGroup
	began := time.Now()
	next := make(chan *mutant)
	for range *workers {
		wait.Go(func() {
			for m := range next {
				tests.try(m)
			}
		})
	}
	for i, m := range chosen {
		if i%200 == 0 {
			fmt.Fprintf(os.Stderr, "%d of %d\n", i, len(chosen))
		}
		if *limit > 0 && time.Since(began) > *limit {
			fmt.Printf("the time is over: %d mutants were not tried\n", len(chosen)-i)
			chosen = chosen[:i]
			break
		}
		next <- m
	}
	close(next)
	wait.Wait()
	stale(pkg, mutants, named)
	if !report(pkg, chosen, named, *aliveFile, *floor) {
		os.RemoveAll(work)
		os.Exit(1)
	}
}

// report prints what lives and the score, and says whether that is good enough.
func report(pkg *pkg, mutants []*mutant, named map[string]string, aliveFile string, floor float64) bool {
	var alive []*mutant
	killed, late, excused, unreached := 0, 0, 0, 0
	slices.SortFunc(mutants, func(a, b *mutant) int { return cmp.Compare(a.id, b.id) })
	for _, m := range mutants {
		_, isNamed := named[m.key]
		switch {
		case m.killer != "":
			killed++
			if m.late {
				late++
			}
			if isNamed {
				fmt.Printf("named, but killed by %s: %s\n", m.killer, m.key)
			}
		case isNamed:
			excused++
		default:
			alive = append(alive, m)
			if !m.reached {
				unreached++
			}
		}
	}
	var list strings.Builder
	for _, m := range alive {
		note := ""
		if !m.reached {
			note = "\tno test reaches it"
		}
		fmt.Fprintf(&list, "%s\t%s:%d%s\n", m.key, m.file, m.line, note)
	}
	fmt.Print(list.String())
	if aliveFile != "" {
		fail(os.WriteFile(aliveFile, []byte(list.String()), 0o644))
	}
	score := 100 * float64(killed) / float64(max(len(mutants), 1))
	fmt.Printf("%s: %d of %d mutants killed (%.1f %%, %d by their time limit), %d named, %d alive and not named (no test reaches %d)\n",
		pkg.path, killed, len(mutants), score, late, excused, len(alive), unreached)
	return score >= floor && len(alive) == 0
}

// stale prints the names of mutants of the package that there are not any more.
func stale(pkg *pkg, mutants []*mutant, named map[string]string) {
	there := map[string]bool{}
	for _, m := range mutants {
		there[m.key] = true
	}
	for _, key := range slices.Sorted(maps.Keys(named)) {
		file, _, _ := strings.Cut(key, " ")
		if filepath.Dir(file) == pkg.short() && !there[key] {
			fmt.Printf("named, but there is no such mutant: %s\n", key)
		}
	}
}

// readNamed reads a list of mutants: one a line, key, tab, reason. Lines that begin with # are comments.
func readNamed(path string) (map[string]string, error) {
	named := map[string]string{}
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return named, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		if line := in.Text(); line != "" && !strings.HasPrefix(line, "#") {
			key, reason, _ := strings.Cut(line, "\t")
			named[key] = reason
		}
	}
	return named, nil
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, filepath.Base(os.Args[0])+":", err)
		os.Exit(2)
	}
}
