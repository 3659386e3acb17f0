package output

import (
	"os"
	"testing"
)

// helpers are what the test binary is when it is started with ZINIT_OUTPUT_HELPER.
var helpers = map[string]func(){}

func TestMain(m *testing.M) {
	if name := os.Getenv("ZINIT_OUTPUT_HELPER"); name != "" {
		helpers[name]()
		os.Exit(0)
	}
	os.Exit(m.Run())
}
