package proc

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/zinit/zinit/internal/testkit/wait"
)

// helpers are what the test binary does when it is executed again with helperVariable set.
var helpers = map[string]func(args []string){}

const helperVariable = "ZINIT_PROC_TEST_HELPER"

func TestMain(m *testing.M) {
	if os.Args[0] == TrampolineName {
		os.Exit(TrampolineMain(os.Args))
	}
	if os.Getpid() == 1 && os.Getenv(vmVariable) == "1" {
		vmInit()
	}
	if name := os.Getenv(helperVariable); name != "" {
		helper := helpers[name]
		if helper == nil {
			fmt.Fprintln(os.Stderr, "no helper called", name)
			os.Exit(99)
		}
		helper(os.Args[1:])
		os.Exit(0)
	}
	if err := SealDescriptors(); err != nil { // what the caller of the tests left open
		panic(err)
	}
	if err := BecomeSubreaper(); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// await waits until a condition holds, longer in a machine that is emulated.
func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	patience := wait.Patience
	if os.Getenv(vmVariable) != "" {
		patience *= 4
	}
	if !wait.Until(patience, condition) {
		t.Fatalf("not within %v: %s", patience, what)
	}
}

// blocks reads a table of testdata/argv: each block is its "> " lines and the lines that follow them.
func blocks(t testing.TB, file string) (out []block) {
	t.Helper()
	data, err := os.ReadFile("../../testdata/argv/" + file)
	if err != nil {
		t.Fatal(err)
	}
	for n, line := range strings.Split(string(data), "\n") {
		switch {
		case strings.HasPrefix(line, "#") || line == "":
		case strings.HasPrefix(line, ">"):
			if len(out) == 0 || len(out[len(out)-1].want) > 0 {
				out = append(out, block{line: n + 1})
			}
			b := &out[len(out)-1]
			b.input = append(b.input, strings.TrimPrefix(strings.TrimPrefix(line, ">"), " "))
		default:
			b := &out[len(out)-1]
			b.want = append(b.want, line)
		}
	}
	return out
}

type block struct {
	line        int
	input, want []string
}

// ignoreTerm makes a helper ignore SIGTERM.
func ignoreTerm() { signal.Ignore(syscall.SIGTERM) }
