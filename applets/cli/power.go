package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

// power is one way to end, with the signal that asks process 1 for it when no server answers.
type power struct {
	name   string
	how    rpc.Power
	signal syscall.Signal
	usage  string
	done   string
}

// The real-time signals are those of the C library's counting (SIGRTMIN = 34), as container managers send them.
var powers = []power{
	{"shutdown", rpc.PowerStop, syscall.SIGTERM, "stop all services in order, then the server ends", "shutting down: services are stopped in order"},
	{"poweroff", rpc.PowerPoweroff, syscall.Signal(34 + 4), "stop everything and power the machine off", "powering off: services are stopped in order"},
	{"reboot", rpc.PowerReboot, syscall.Signal(34 + 5), "stop everything and reboot the machine", "rebooting: services are stopped in order"},
	{"halt", rpc.PowerHalt, syscall.Signal(34 + 3), "stop everything and halt the machine", "halting: services are stopped in order"},
}

func powerNamed(name string) power {
	i := slices.IndexFunc(powers, func(p power) bool { return p.name == name })
	return powers[i]
}

func powerCommand(v *invocation, p power) *cli.Command {
	description := "When no server answers and process 1 is zinit, process 1 is asked by a signal instead."
	if p.how != rpc.PowerStop {
		description += "\nRefused where zinit is not process 1 of a machine: a container ends with zinit shutdown."
	}
	return &cli.Command{
		Name: p.name, Category: categorySystem, Usage: p.usage, Description: description,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "do not ask the server, signal process 1"},
			&cli.BoolFlag{Name: "wait", Usage: "return when the server has ended, and say what it waits for"},
		},
		Action: v.named(0, 0, func(c *cli.Context, _ []string) error {
			return v.end(p, c.Bool("force"), c.Bool("wait"))
		}),
	}
}

// end asks the server, or process 1 where no server answers.
func (v *invocation) end(p power, force, wait bool) error {
	if p.how != rpc.PowerStop && v.socket == "" && (os.Getenv(socketVariable) == "" || ourSystem().Has(os.Getenv(socketVariable))) {
		v.notProject() // the machine is no project's to end
	}
	if force {
		return v.signalFirst(p, nil)
	}
	client, err := v.client()
	if err != nil {
		return v.signalFirst(p, err)
	}
	var ended func() error
	if wait {
		if ended, err = v.waitForEnd(client.Socket()); err != nil {
			return err
		}
	}
	if err := client.Shutdown(v.ctx, p.how); err != nil {
		return v.explainEnd(p, err)
	}
	v.say(p.done)
	_ = v.out.flush()
	if !wait {
		return nil
	}
	ctx, stop := context.WithCancel(v.ctx)
	told := make(chan struct{})
	go func() {
		defer close(told)
		v.tellEnding(ctx)
	}()
	err = ended()
	stop()
	<-told
	return err
}

// The pace at which `shutdown --wait` asks what is waited for: until the stop has begun, and then.
const (
	endingFirst = 50 * time.Millisecond
	endingPace  = time.Second
)

// tellEnding says what the server waits for until it has ended, a line when that has changed.
func (v *invocation) tellEnding(ctx context.Context) {
	client, err := v.another(rpc.WithReconnect(reconnectLimit))
	if err != nil || v.quiet {
		return
	}
	defer client.Close() //nolint:errcheck // nothing is left to send
	for last, pace := "", endingFirst; ; {
		p, err := client.Ping(ctx)
		if err != nil {
			return
		}
		if e := p.Ending; e != nil {
			pace = endingPace
			if names := strings.Join(e.Waiting, " "); names != last && e.Text != "" {
				last = names
				v.note(e.Text)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pace):
		}
	}
}

func (v *invocation) explainEnd(p power, err error) error {
	var answer *wire.Error
	if !errors.As(err, &answer) {
		return err
	}
	hint := ""
	if p.how != rpc.PowerStop && !strings.Contains(answer.Message, "zinit shutdown") {
		hint = " (to stop the services and the server: zinit shutdown)"
	}
	return failf(exitCode(err), "cannot %s: %s%s", p.name, answer.Message, hint)
}

// signalFirst signals process 1, but only if that is zinit. reason is why no server was asked, nil for --force.
func (v *invocation) signalFirst(p power, reason error) error {
	if reason != nil && (!notReachable(reason) || v.project != nil) {
		return reason
	}
	if !isZinit("/proc/1", "/proc/self") {
		if reason != nil {
			return reason
		}
		return failf(exitFailed, "cannot %s: process 1 is not zinit", p.name)
	}
	if err := syscall.Kill(1, p.signal); err != nil {
		return failf(exitCode(err), "cannot signal process 1: %v", err)
	}
	v.say(p.done + " (asked process 1)")
	return nil
}

// isZinit reports whether the process whose directory in /proc is first runs zinit: its executable is named so, is the
// same file as our own, or it is /init under the name that our shim gives itself.
func isZinit(first, own string) bool {
	exe, err := os.Readlink(filepath.Join(first, "exe"))
	if err != nil {
		return false
	}
	base := filepath.Base(strings.TrimSuffix(exe, " (deleted)"))
	if strings.HasPrefix(base, "zinit") || sameFile(filepath.Join(first, "exe"), filepath.Join(own, "exe")) {
		return true
	}
	comm, err := os.ReadFile(filepath.Join(first, "comm"))
	return err == nil && base == "init" && bytes.HasPrefix(comm, []byte("zinit"))
}

func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// isPowerName reports whether the program was called as one of the traditional commands.
func isPowerName(name string) bool {
	return slices.ContainsFunc(powers, func(p power) bool { return p.name == name })
}

const powerHelp = `usage: %s [-f] [-p] [-r] [-h] [-w] [-n] [-d SECONDS] [now]

zinit as the traditional command: asks the zinit server, or process 1 when none answers.
  -f, --force      do not ask the server, signal process 1
  -p, -P           power off     -r  reboot     -H, --halt  halt
  -h               shutdown: power off; others: this help
  -d SECONDS       wait before
  -n, -i, -t N, --no-wall   accepted without effect;  -w  only write a record: does nothing
`

// oldStyle is the meaning of a traditional command line.
type oldStyle struct {
	power power
	force bool
	delay time.Duration
	help  bool
	none  bool // -w: nothing is to be done
}

// powerMain is reboot, poweroff, halt or shutdown called by that name, with the flags people type after it.
func (v *invocation) powerMain(name string, args []string) error {
	o, err := parseOldStyle(name, args)
	switch {
	case err != nil:
		return err
	case o.help:
		v.out.print(strings.Replace(powerHelp, "%s", name, 1))
		return nil
	case o.none:
		return nil
	case o.delay > 0:
		select {
		case <-v.ctx.Done():
			return silent(exitInterrupted)
		case <-time.After(o.delay):
		}
	}
	return v.end(o.power, o.force, false)
}

func parseOldStyle(name string, args []string) (*oldStyle, error) {
	o := &oldStyle{power: powerNamed(name)}
	if name == "shutdown" {
		o.power = powerNamed("poweroff")
	}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "-d" || arg == "-t":
			if i++; i == len(args) {
				return nil, usagef("%s: %s needs seconds", name, arg)
			}
			d, err := parseDuration(args[i])
			if err != nil {
				return nil, usagef("%s: cannot read %s %q: %v", name, arg, args[i], err)
			}
			if arg == "-d" {
				o.delay = d
			}
		case strings.HasPrefix(arg, "--"):
			if err := o.long(name, arg); err != nil {
				return nil, err
			}
		case len(arg) > 1 && arg[0] == '-':
			for _, letter := range arg[1:] {
				if err := o.letter(name, letter); err != nil {
					return nil, err
				}
			}
		case name == "shutdown":
			if i == firstPlain(args) && arg != "now" && arg != "+0" && arg != "0" {
				return nil, usagef("shutdown: only \"now\" is possible, not %q; nothing is scheduled", arg)
			}
		default:
			return nil, usagef("%s takes no arguments, got %q", name, arg)
		}
	}
	return o, nil
}

// firstPlain is where the first word that is no flag stands; what follows it is a message to users.
func firstPlain(args []string) int {
	for i, a := range args {
		if !strings.HasPrefix(a, "-") && (i == 0 || args[i-1] != "-t" && args[i-1] != "-d") {
			return i
		}
	}
	return -1
}

func (o *oldStyle) long(name, flag string) error {
	letters := map[string]rune{"--force": 'f', "--poweroff": 'p', "--reboot": 'r', "--halt": 'H', "--help": '?', "--wtmp-only": 'w', "--no-wall": 'n', "--no-sync": 'n'}
	letter, ok := letters[flag]
	if !ok {
		return usagef("%s: unknown flag %s (see: %s --help)", name, flag, name)
	}
	return o.letter(name, letter)
}

func (o *oldStyle) letter(name string, letter rune) error {
	switch letter {
	case 'f':
		o.force = true
	case 'p', 'P':
		o.power = powerNamed("poweroff")
	case 'r':
		o.power = powerNamed("reboot")
	case 'H':
		o.power = powerNamed("halt")
	case 'h':
		o.help = name != "shutdown"
	case '?':
		o.help = true
	case 'w':
		o.none = true
	case 'n', 'i':
	case 'c', 'k':
		return usagef("%s: -%c is not possible: nothing is ever scheduled", name, letter)
	default:
		return usagef("%s: unknown flag -%c (see: %s --help)", name, letter, name)
	}
	return nil
}
