// Package need is the rule about prerequisites of tests: what is missing skips the test, with a word, on an engineer's machine,
// and fails it where ZINIT_TEST_STRICT=1 says that everything is there, as in CI. It imports nothing of ours, so that every
// package can use it.
package need

import (
	"os"
	"path/filepath"
	"testing"
)

// That requires something that the caller has looked for.
func That(t testing.TB, ok bool, what string) {
	t.Helper()
	switch {
	case ok:
	case os.Getenv("ZINIT_TEST_STRICT") == "1":
		t.Fatalf("prerequisite missing: %s", what)
	default:
		t.Skipf("prerequisite missing: %s", what) // the only skip for what a machine lacks: `go test` must pass on any of them
	}
}

// Root requires user 0.
func Root(t testing.TB) {
	t.Helper()
	That(t, os.Geteuid() == 0, "root")
}

// Program finds an executable in PATH or the usual directories of daemons.
func Program(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin", "/usr/local/sbin") {
		if path := filepath.Join(dir, name); isExecutable(path) {
			return path
		}
	}
	That(t, false, name)
	return ""
}

func isExecutable(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0
}
