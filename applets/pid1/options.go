package pid1

import "strings"

// options are the shim's own flags; everything else is the server's.
type options struct {
	container  string   // "" = find out, "1" and "0" decide
	shutdownMS int      // how long a stop may take, 0 = default
	command    []string // what follows --
	noWait     bool     // it does not wait for the services
	waitMS     int      // how long it does, 0 = default
	server     []string // flags passed on
	help       bool
}

// passed are the server's flags and whether a value follows; the part behind = is always taken along.
var passed = map[string]bool{
	"config": true, "config-dir": true, "socket": true, "s": true, "log-level": true, "log-format": true,
	"log-stdout": false, "settings": true, "syslog": true, "socket-mode": true, "socket-group": true, "lenient": false,
	"target": true, "ready-fd": true, "color": true, "profile": true, "state-dir": true,
}

// parseOptions reads the arguments behind argv[0]. unknown are words and flags that mean nothing here: the kernel hands
// process 1 of a machine whatever it does not know itself.
func parseOptions(args []string) (o options, unknown []string) {
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		name, value, has := strings.Cut(strings.TrimLeft(word, "-"), "=")
		takes, known := passed[name]
		switch {
		case word == "--":
			o.command = args
			return o, unknown
		case !strings.HasPrefix(word, "-"):
			unknown = append(unknown, word)
		case name == "container" || name == "c":
			o.container = "1"
			if has {
				o.container = truth(value)
			}
		case name == "shutdown-ms":
			if !has && len(args) > 0 {
				value, args = args[0], args[1:]
			}
			if o.shutdownMS = number(value); o.shutdownMS <= 0 {
				unknown = append(unknown, word)
			}
		case name == "no-wait" && !has:
			o.noWait = true
		case name == "stop-budget" || name == "wait-timeout":
			if !has && len(args) > 0 {
				value, args = args[0], args[1:]
			}
			ms := milliseconds(value)
			if ms <= 0 {
				unknown = append(unknown, "--"+name+" "+value+" (want a time such as 58s or 2m)")
			}
			if name == "stop-budget" {
				o.shutdownMS = ms
			} else {
				o.waitMS = ms
			}
		case name == "help" || name == "h":
			o.help = true
		case !known:
			unknown = append(unknown, word)
		case takes && !has:
			if len(args) == 0 {
				unknown = append(unknown, word)
				continue
			}
			o.server = append(o.server, word, args[0])
			args = args[1:]
		default:
			o.server = append(o.server, word)
		}
	}
	return o, unknown
}

// truth makes "1" or "0" of a word for yes or no.
func truth(s string) string {
	switch strings.ToLower(s) {
	case "", "0", "no", "false", "off":
		return "0"
	}
	return "1"
}

// number reads a decimal number of at most nine digits, -1 when it is none.
func number(s string) int {
	if s == "" || len(s) > 9 {
		return -1
	}
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// milliseconds reads a time as the client does: a number of seconds, or one with ms, s, m or h behind it; -1 when it is
// none.
func milliseconds(s string) int {
	unit := 1000
	for _, u := range []struct {
		name string
		ms   int
	}{{"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}} {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			s, unit = rest, u.ms
			break
		}
	}
	if n := number(s); n >= 0 && n <= 1<<30/unit {
		return n * unit
	}
	return -1
}

const usage = `usage: zinit pid1 [--config DIR] [--socket PATH] [flags] [-- COMMAND ARGUMENT…]

Runs the server below this process and keeps what must outlive it. As process 1 of a machine it boots and halts it.

  -c, --container[=0]    behave as in a container (default: find out)
      --config DIR       directory of service files, or a root with services/ in it
      --socket PATH      control socket
      --stop-budget T    how long a stop may take, such as 58s: after three quarters of it what is left is killed.
                         Default: as process 1 of a container 8s (docker stop waits 10), else what the services ask for
      --shutdown-ms N    the same in milliseconds
      --log-stdout[=F]   services' output to stdout as well: prefix, plain or json
      --log-level L, --log-format F, --color WHEN, --settings FILE, --syslog PATH, --socket-mode M, --socket-group G,
      --target NAME, --profile NAME, --state-dir DIR, --lenient  passed on to the server
  -- COMMAND             run it as the container's main program and end with its status; it starts when every service
                         that starts at boot is up or done, or has failed, is blocked, or waits for a restart
      --wait-timeout T   start it after T in any case (default 60s)
      --no-wait          start it at once
`
