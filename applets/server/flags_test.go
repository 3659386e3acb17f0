package server

import (
	"io"
	"testing"
)

// TestLogStdoutIsChosen: the flag wins over the variable, and both over the settings, also where
// they say no.
func TestLogStdoutIsChosen(t *testing.T) {
	for _, c := range []struct {
		variable string
		args     []string
		want     string
		err      string
	}{
		{"", nil, "", ""},
		{"json", nil, "json", ""},
		{"1", nil, "prefix", ""},
		{"0", nil, stdoutOff, ""},
		{"json", []string{"--log-stdout=plain"}, "plain", ""},
		{"json", []string{"--log-stdout"}, "prefix", ""},
		{"json", []string{"--log-stdout=false"}, stdoutOff, ""},
		{"xml", nil, "", `ZINIT_LOG_STDOUT: want prefix, plain, json, not "xml"`},
		{"", []string{"--log-stdout=xml"}, "", `--log-stdout "xml": want prefix, plain, json, not "xml"; see: zinit server --help`},
	} {
		t.Setenv("ZINIT_LOG_STDOUT", c.variable)
		o, err := parseFlags(c.args, io.Discard)
		switch {
		case err != nil && err.Error() != c.err, err == nil && c.err != "":
			t.Errorf("%q %v: error %v, want %s", c.variable, c.args, err, c.err)
		case err == nil && o.logStdout != c.want:
			t.Errorf("%q %v: %q, want %q", c.variable, c.args, o.logStdout, c.want)
		}
	}
}
