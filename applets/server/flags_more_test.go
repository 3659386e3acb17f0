package server

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
)

// clean unsets what the server reads of its environment.
func clean(t *testing.T) {
	t.Helper()
	for _, name := range []string{"ZINIT_LOG_STDOUT", "ZINIT_CONFIG_DIR", "ZINIT_SOCKET", "ZINIT_LOG_LEVEL", "ZINIT_LENIENT", "ZINIT_TARGET", "ZINIT_SYSLOG",
		"NOTIFY_SOCKET"} {
		t.Setenv(name, "")
	}
}

// TestFlags: each is taken, by all of its names, and wins over its variable.
func TestFlags(t *testing.T) {
	clean(t)
	o, err := parseFlags(nil, io.Discard)
	if err != nil || o.logLevel != "info" || o.logFormat != "text" || o.color != "auto" || o.readyFD != -1 || len(o.configDirs) != 0 || o.socket != "" ||
		o.lenient || o.pid1Mode || o.keepLeft || o.only != "" || o.logStdout != "" {
		t.Errorf("without flags: %+v, %v", o, err)
	}
	o, err = parseFlags([]string{"-c", "a", "--config", "b", "--config-dir=c", "-s", "/x", "--log-level", "warn", "--log-format", "json", "--color", "never",
		"--settings", "s.toml", "--syslog", "/dev/log", "--socket-mode", "0600", "--socket-group", "g", "--keep-leftovers", "--pid1-mode", "--target", "net",
		"--lenient"}, io.Discard)
	if err != nil || !slices.Equal(o.configDirs, []string{"a", "b", "c"}) || o.socket != "/x" || o.logLevel != "warn" || o.logFormat != "json" ||
		o.color != "never" || o.settings != "s.toml" || o.syslog != "/dev/log" || o.socketMode != "0600" || o.socketGroup != "g" || !o.keepLeft ||
		!o.pid1Mode || o.only != "net" || !o.lenient {
		t.Errorf("with flags: %+v, %v", o, err)
	}
	for name, value := range map[string]string{"ZINIT_CONFIG_DIR": "p:q", "ZINIT_SOCKET": "/v", "ZINIT_LOG_LEVEL": "debug", "ZINIT_LENIENT": "1", "ZINIT_TARGET": "t"} {
		t.Setenv(name, value)
	}
	o, err = parseFlags(nil, io.Discard)
	if err != nil || !slices.Equal(o.configDirs, []string{"p", "q"}) || o.socket != "/v" || o.logLevel != "debug" || !o.lenient || o.only != "t" {
		t.Errorf("with variables: %+v, %v", o, err)
	}
	o, err = parseFlags([]string{"-c", "a", "-s", "/x", "--log-level=error", "--lenient=false", "--target="}, io.Discard)
	if err != nil || !slices.Equal(o.configDirs, []string{"a"}) || o.socket != "/x" || o.logLevel != "error" || o.lenient || o.only != "" {
		t.Errorf("with both: %+v, %v", o, err)
	}
}

// TestFlagErrors name the flag, what it got and the next step.
func TestFlagErrors(t *testing.T) {
	clean(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--sockte", "x"}, "unknown flag --sockte; did you mean --socket?"},
		{[]string{"--nonsense"}, "unknown flag --nonsense; see: zinit server --help"},
		{[]string{"extra"}, `unexpected argument "extra"; the directory is given with --config; see: zinit server --help`},
		{[]string{"--log-format", "xml"}, "--log-format xml: want text or json"},
		{[]string{"--color", "blue"}, "--color blue: want auto, always or never"},
		{[]string{"--socket-mode", "0999"}, "--socket-mode 0999: want octal permissions such as 0660"},
		{[]string{"--socket-mode", "1777"}, "--socket-mode 1777: want octal permissions such as 0660"},
		{[]string{"--socket", ""}, "--socket: want a path, not an empty text"},
		{[]string{"-s="}, "--socket: want a path, not an empty text"},
		{[]string{"--config", ""}, `--config "": want a directory; see: zinit server --help`},
		{[]string{"--ready-fd", "x"}, `--ready-fd "x": want a number; see: zinit server --help`},
		{[]string{"--ready-fd", "999"}, "--ready-fd 999: the descriptor is not open"},
		{[]string{"--lenient=perhaps"}, `--lenient "perhaps": want true or false; see: zinit server --help`},
		{[]string{"--socket"}, "flag needs an argument: -socket; see: zinit server --help"},
	} {
		o, err := parseFlags(c.args, io.Discard)
		if err == nil || err.Error() != c.want {
			t.Errorf("%q: %v, want %s (%+v)", c.args, err, c.want, o)
		}
	}
	var out bytes.Buffer
	if _, err := parseFlags([]string{"--help"}, &out); !errors.Is(err, flag.ErrHelp) || !strings.HasPrefix(out.String(), "usage: zinit server") {
		t.Errorf("help: %v, %q", err, out.String())
	}
	for _, name := range []string{"--config", "--socket ", "--log-level", "--log-format", "--log-stdout", "--color", "--settings", "--syslog", "--socket-mode",
		"--socket-group", "--ready-fd", "--keep-leftovers", "--pid1-mode", "--target", "--lenient"} {
		if !strings.Contains(out.String(), name) {
			t.Errorf("the help does not name %s", name)
		}
	}
	if _, err := parseFlags([]string{"--ready-fd", "1"}, io.Discard); err != nil {
		t.Errorf("an open descriptor: %v", err)
	}
}

// TestLogLevels in all their words.
func TestLogLevels(t *testing.T) {
	for word, want := range map[string]slog.Level{"": slog.LevelInfo, "info": slog.LevelInfo, "INFO": slog.LevelInfo, "trace": slog.LevelDebug,
		"debug": slog.LevelDebug, "warn": slog.LevelWarn, "warning": slog.LevelWarn, "error": slog.LevelError} {
		if got, err := logLevel(word); err != nil || got != want {
			t.Errorf("%q is %v, %v", word, got, err)
		}
	}
	if _, err := logLevel("loud"); err == nil || err.Error() != "--log-level loud: want debug, info, warn or error" {
		t.Error(err)
	}
	s := &server{o: &options{logLevel: "loud"}}
	if err := s.openLog(); err == nil {
		t.Error("a log of no level")
	}
}

// TestSelfTest says which state this executable reads.
func TestSelfTest(t *testing.T) {
	said := func(args ...string) (string, int) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		was := os.Stdout
		os.Stdout = w
		code := selfTest(args)
		os.Stdout = was
		_ = w.Close()
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(text), code
	}
	for _, c := range []struct {
		args []string
		code int
		say  string
	}{
		{[]string{"1"}, exitOK, "state 2\n"}, {[]string{"2"}, exitOK, "state 2\n"}, {[]string{"3"}, exitInvalid, "cannot take over state version 3"},
		{[]string{"x"}, exitInvalid, "cannot take over state version x"}, {nil, exitUsage, ""}, {[]string{"1", "2"}, exitUsage, ""},
	} {
		if text, code := said(c.args...); code != c.code || !strings.Contains(text, c.say) {
			t.Errorf("%q: %d, %q", c.args, code, text)
		}
	}
}
