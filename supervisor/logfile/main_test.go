package logfile

import (
	"os"
	"testing"

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

type wireSink = wire.Sink
