// Package survival kills the server over and over and counts what is left: every process, exit status and log line.
package survival

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/zinit/zinit/test/survival/storm"
)

// TestMain plays the services when the binary is executed as one, else runs the tests.
func TestMain(m *testing.M) {
	storm.Play()
	code := m.Run()
	if earlierDir != "" {
		os.RemoveAll(earlierDir)
	}
	os.Exit(code)
}

func raw(text string) json.RawMessage { return json.RawMessage(text) }
