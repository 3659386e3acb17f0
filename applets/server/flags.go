package server

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/graph/confdir"
)

// options are the server's flags after the environment and the defaults have been applied.
type options struct {
	configDirs  []string
	socket      string
	logLevel    string
	logFormat   string // text or json
	color       string // of services on a terminal: auto, always or never
	logStdout   string // "" not given, "off", "prefix", "json" or "plain": service output to stdout (containers)
	settings    string
	stateDir    string
	system      bool   // not the server of the project that the working directory is in
	syslog      string // path of the syslog socket, "" = none
	socketMode  string
	socketGroup string
	readyFD     int
	pid1Mode    bool
	keepLeft    bool // what a server that was killed has left runs on
	lenient     bool
	profiles    []string
	only        string // start only what this target pulls in
}

// stringsFlag collects a repeatable flag.
type stringsFlag struct {
	values *[]string
	what   string // that a value is
}

func (f stringsFlag) String() string { return "" }
func (f stringsFlag) Set(v string) error {
	if v == "" { // such as an unset variable of a shell
		return errors.New("want a " + f.what)
	}
	*f.values = append(*f.values, v)
	return nil
}

// optionalFlag is a flag whose value may be left out: --log-stdout or --log-stdout=json.
type optionalFlag struct {
	value  *string
	absent string
}

func (f optionalFlag) String() string   { return "" }
func (f optionalFlag) IsBoolFlag() bool { return true }
func (f optionalFlag) Set(v string) error {
	switch {
	case v == "true" || v == "1":
		*f.value = f.absent
	case v == "false" || v == "0":
		*f.value = stdoutOff
	case slices.Contains(confdir.StdoutFormats(), v):
		*f.value = v
	default:
		return fmt.Errorf("want %s, not %q", strings.Join(confdir.StdoutFormats(), ", "), v)
	}
	return nil
}

const (
	stdoutOff     = "off"
	stdoutDefault = "prefix"
)

const usage = `usage: zinit server [--config DIR]… [--socket PATH] [flags]

  -c, --config DIR      directory of service files, or a root with services/ or a zinit.toml with services in it
                        (repeatable; --config-dir too). Default: the project that this directory is in, else /etc/zinit
  -s, --socket PATH     control socket
      --log-level L     debug, info, warn or error
      --log-format F    text or json
      --log-stdout[=F]  services' output to stdout as well: prefix (default), plain or json
      --color WHEN      their colours there: auto (on a terminal, unless $NO_COLOR), always or never
      --settings FILE   zinit.toml (default: beside the services directory)
      --state-dir DIR   what must outlive the server (default: /var/lib/zinit; of other users $XDG_STATE_HOME/zinit)
      --system          not for the project that this directory is in, but for the machine or the user
      --syslog PATH     serve a syslog socket there (/dev/log)
      --socket-mode M   mode of the socket, octal (default 0660)
      --socket-group G  group of the socket
      --ready-fd N      write a newline to descriptor N when the socket is served
      --keep-leftovers  let run on what a server that was killed has left behind
      --pid1-mode       load system/ too (a zinit-pid1 above does this by itself)
      --profile NAME    load the services of this profile too (repeatable)
      --target NAME     start only what NAME pulls in
      --lenient         unknown keys and parameters are warnings
`

// parseFlags reads the command line. The error is already worded for people; nothing has been printed.
func parseFlags(args []string, stdout io.Writer) (*options, error) {
	o := &options{logFormat: "text"}
	fs := flag.NewFlagSet("zinit server", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	for _, name := range []string{"c", "config", "config-dir"} {
		fs.Var(stringsFlag{&o.configDirs, "directory"}, name, "")
	}
	fs.Var(stringsFlag{&o.profiles, "name"}, "profile", "")
	for _, name := range []string{"s", "socket"} {
		fs.StringVar(&o.socket, name, "", "")
	}
	fs.StringVar(&o.logLevel, "log-level", "", "")
	fs.StringVar(&o.logFormat, "log-format", "text", "")
	fs.Var(optionalFlag{&o.logStdout, stdoutDefault}, "log-stdout", "")
	fs.StringVar(&o.color, "color", "auto", "")
	fs.StringVar(&o.settings, "settings", "", "")
	fs.StringVar(&o.stateDir, "state-dir", "", "")
	fs.BoolVar(&o.system, "system", false, "")
	fs.StringVar(&o.syslog, "syslog", "", "")
	fs.StringVar(&o.socketMode, "socket-mode", "", "")
	fs.StringVar(&o.socketGroup, "socket-group", "", "")
	fs.IntVar(&o.readyFD, "ready-fd", -1, "")
	fs.BoolVar(&o.keepLeft, "keep-leftovers", false, "")
	fs.BoolVar(&o.pid1Mode, "pid1-mode", false, "")
	fs.BoolVar(&o.lenient, "lenient", os.Getenv("ZINIT_LENIENT") == "1", "")
	fs.StringVar(&o.only, "target", os.Getenv("ZINIT_TARGET"), "")
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return nil, err
	case err != nil:
		return nil, flagError(fs, err)
	case fs.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q; the directory is given with --config; see: zinit server --help", fs.Arg(0))
	case o.logFormat != "text" && o.logFormat != "json":
		return nil, fmt.Errorf("--log-format %s: want text or json", o.logFormat)
	case o.color != "auto" && o.color != "always" && o.color != "never":
		return nil, fmt.Errorf("--color %s: want auto, always or never", o.color)
	case o.socketMode != "":
		if _, err := socketMode(o.socketMode); err != nil {
			return nil, err
		}
	}
	fs.Visit(func(f *flag.Flag) {
		if (f.Name == "socket" || f.Name == "s") && o.socket == "" {
			err = errors.New("--socket: want a path, not an empty text")
		}
	})
	if err != nil {
		return nil, err
	}
	if o.readyFD >= 0 {
		if _, err := unix.FcntlInt(uintptr(o.readyFD), unix.F_GETFD, 0); err != nil {
			return nil, fmt.Errorf("--ready-fd %d: the descriptor is not open", o.readyFD)
		}
	}
	return o, o.environment()
}

// flagError words what the flag package says.
func flagError(fs *flag.FlagSet, err error) error {
	text, name, value, want := err.Error(), "", "", " want a number"
	if rest, ok := strings.CutPrefix(text, "invalid boolean value "); ok {
		want = " want true or false"
		text = "invalid value " + strings.Replace(rest, " for -", " for flag -", 1)
	}
	if _, found := fmt.Sscanf(text, "flag provided but not defined: -%s", &name); found == nil {
		var known []string
		fs.VisitAll(func(f *flag.Flag) { known = append(known, f.Name) })
		if near := graph.Nearest(name, slices.Values(known)); near != "" {
			return fmt.Errorf("unknown flag --%s; did you mean --%s?", name, near)
		}
		return fmt.Errorf("unknown flag --%s; see: zinit server --help", name)
	}
	if _, found := fmt.Sscanf(text, "invalid value %q for flag -%s", &value, &name); found == nil {
		why := text[strings.Index(text, name)+len(name):]
		if strings.Contains(why, "parse error") {
			why = want
		}
		return fmt.Errorf("--%s %q:%s; see: zinit server --help", strings.TrimSuffix(name, ":"), value, why)
	}
	return fmt.Errorf("%w; see: zinit server --help", err)
}

func socketMode(text string) (os.FileMode, error) {
	mode, err := strconv.ParseUint(text, 8, 9)
	if err != nil {
		return 0, fmt.Errorf("--socket-mode %s: want octal permissions such as 0660", text)
	}
	return os.FileMode(mode), nil
}

// environment fills what no flag said: flag, then variable, then the table of defaults.
func (o *options) environment() error {
	if word := os.Getenv("ZINIT_LOG_STDOUT"); word != "" && o.logStdout == "" {
		if err := (optionalFlag{&o.logStdout, stdoutDefault}).Set(word); err != nil {
			return fmt.Errorf("ZINIT_LOG_STDOUT: %w", err)
		}
	}
	if len(o.configDirs) == 0 {
		if dirs := os.Getenv("ZINIT_CONFIG_DIR"); dirs != "" {
			o.configDirs = strings.Split(dirs, ":")
		}
	}
	if o.socket == "" {
		o.socket = os.Getenv("ZINIT_SOCKET")
	}
	if len(o.profiles) == 0 {
		o.profiles = strings.FieldsFunc(os.Getenv("ZINIT_PROFILE"), func(c rune) bool { return c == ',' })
	}
	if o.logLevel == "" {
		o.logLevel = os.Getenv("ZINIT_LOG_LEVEL")
	}
	if o.logLevel == "" {
		o.logLevel = "info"
	}
	return nil
}
