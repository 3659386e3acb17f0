package logfile

import (
	"os"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/rpc/wire"
)

// helpers are what the test binary is when it is started with ZINIT_LOGFILE_HELPER.
var helpers = map[string]func(){}

func TestMain(m *testing.M) {
	if name := os.Getenv("ZINIT_LOGFILE_HELPER"); name != "" {
		helpers[name]()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// await polls a condition, for testkit.Patience at most.
func await(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testkit.Patience); !f(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// needRoot ends a test that needs it: as a failure where ZINIT_TEST_STRICT says that everything must run.
func needRoot(t *testing.T) {
	t.Helper()
	testkit.NeedRoot(t)
}

type wireSink = wire.Sink
