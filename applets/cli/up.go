package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/graph/confdir"
	"github.com/zinit/zinit/internal/project"
	"github.com/zinit/zinit/internal/sleep"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/supervisor/proc"
)

func upCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "up", Category: categoryProject, Usage: "start the project, or some of its services, and show what they write", ArgsUsage: "[NAME...]",
		Description: "Starts the project's server if there is none, and the services with what they need. Ctrl-C stops everything in order\n" +
			"and says what it waits for; a second one kills what is left. Where the server ran before, Ctrl-C ends only the showing.\n" +
			"It ends by itself when nothing is left to run: exit code 1 when something failed, else 0.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "return when everything is up; the server stays, below its keeper"},
			&cli.StringFlag{Name: "exit-code-from", Usage: "when service `NAME` has ended, stop everything and exit as it did"},
			&cli.BoolFlag{Name: "abort-on-failure", Usage: "when a service has failed for good, stop everything and exit with 1"},
			&cli.StringSliceFlag{Name: "no-log", Usage: "do not show what service `NAME` writes; repeatable"},
			&cli.StringSliceFlag{Name: "profile", Usage: "with the services of profile `NAME`; repeatable"},
			&cli.StringFlag{Name: "timeout", Aliases: []string{"t"}, Usage: "everything must be up within `TIME`, else it is stopped: exit code 124"},
		},
		Action: v.named(0, -1, func(c *cli.Context, names []string) error {
			timeout, err := durationFlag(c, "timeout", 0)
			if err != nil {
				return err
			}
			from, detach := c.String("exit-code-from"), c.Bool("detach")
			if detach && (from != "" || c.Bool("abort-on-failure")) {
				return usagef("--detach returns at once: --exit-code-from and --abort-on-failure go without it")
			}
			s, err := v.startProject(names, append(slices.Clone(c.StringSlice("no-log")), from), c.StringSlice("profile"))
			if err != nil {
				return err
			}
			if detach {
				return v.upDetached(s, timeout)
			}
			u := newUp(v, s, timeout)
			u.exitFrom, u.abort = from, c.Bool("abort-on-failure")
			for _, name := range c.StringSlice("no-log") {
				u.silent[name] = true
			}
			return u.run()
		}),
	}
}

func downCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "down", Category: categoryProject, Usage: "stop the project: its services in order, then its server",
		Flags: []cli.Flag{&cli.StringFlag{Name: "timeout", Aliases: []string{"t"}, Usage: "stop waiting after `TIME`: exit code 124; it goes on"}},
		Action: v.named(0, 0, func(c *cli.Context, _ []string) error {
			timeout, err := durationFlag(c, "timeout", 0)
			if err != nil {
				return err
			}
			if err := v.needProject(); err != nil {
				return err
			}
			if _, err := v.client(); notReachable(err) {
				v.note("nothing to stop: " + describe(err))
				return nil
			}
			whole := v.ctx
			if timeout > 0 {
				var stop context.CancelFunc
				v.ctx, stop = context.WithTimeout(whole, timeout)
				defer stop()
			}
			socket := v.conn.Socket()
			if err = v.end(powerNamed("shutdown"), false, true); err == nil {
				v.awaitFree(socket)
			}
			if v.ctx.Err() != nil && whole.Err() == nil {
				return failf(exitTimedOut, "timed out after %s waiting for the project to stop; it goes on stopping", durationText(timeout))
			}
			return err
		}),
	}
}

// needProject is the error of a command about a project where there is none.
func (v *invocation) needProject() error {
	if v.system {
		return usagef("up and down are about projects: --system has none")
	}
	here, _ := os.Getwd()
	p, err := v.findProject()
	switch {
	case err != nil:
		return err
	case p != nil || v.socket != "" || os.Getenv(socketVariable) != "":
		v.project = p
		return nil
	}
	if found, _ := ourSystem().Find(here, false); found.Foreign != "" {
		return failf(exitFailed, "the project %s belongs to another user and is left alone (to use it all the same, name a socket for it: --socket PATH)",
			shortHome(found.Foreign))
	}
	return failf(exitFailed, "no project here: there is no %s with [services.NAME] in it, and no %s, in %s or above it (write one: zinit init)", confdir.ProjectFile,
		project.Hidden, shortHome(here))
}

// started is a project's server that answers.
type started struct {
	server *rpc.Client
	names  []string // the services that were asked for, nil = all
	fresh  []string // what the server starts by itself, where this command has started it
	ours   *process // its keeper, which this command has started; nil = it was there before
}

// process is the keeper of a project's server.
type process struct {
	*os.Process
	ended chan struct{} // closed when it has ended
	code  int           // its exit code then
	log   string        // where it writes
}

// startProject connects to the project's server, and starts it before if it does not run. Then it loads all and starts the named
// services only. others are names that must exist, too.
func (v *invocation) startProject(names, others, profiles []string) (*started, error) {
	if err := v.needProject(); err != nil {
		return nil, err
	}
	s := &started{names: names}
	client, err := v.client()
	switch {
	case err == nil:
		if len(profiles) > 0 {
			return nil, failf(exitFailed, "the project runs already, and profiles are chosen at its start (first: zinit down)")
		}
		s.server = client
		known, err := client.List(v.ctx)
		if err != nil {
			return nil, err
		}
		return s, v.checkNames(slices.Concat(names, others), known, nil)
	case !notReachable(err), v.project == nil:
		return nil, err
	}
	if s.fresh, err = v.checkProject(slices.Concat(names, others), profiles); err != nil {
		return nil, err
	}
	if s.ours, err = v.launch(names, profiles); err != nil {
		return nil, err
	}
	s.server, err = v.awaitLaunch(s.ours)
	return s, err
}

// checkNames says which name is none of a service.
func (v *invocation) checkNames(names, known []string, inactive map[string][]string) error {
	for _, name := range names {
		switch {
		case name == "" || slices.Contains(known, name):
		case inactive[name] != nil:
			return failf(exitNoService, "%s is in profile %s: say --profile %s", name, strings.Join(inactive[name], " and "), inactive[name][0])
		default:
			text := "no such service: " + name
			if best := nearest(name, known); best != "" {
				return failf(exitNoService, "%s; did you mean %s?", text, best)
			}
			return failf(exitNoService, "%s (the project has %s)", text, strings.Join(known, ", "))
		}
	}
	return nil
}

// checkProject reads the project as its server will: what is wrong with it is told before anything is started. It returns what is
// started by itself.
func (v *invocation) checkProject(names, profiles []string) (fresh []string, err error) {
	o := confdir.Options{Trust: true, Profiles: profiles, EnvFile: proc.EnvFileValues, Dirs: v.project.Configs,
		Lenient: os.Getenv("ZINIT_LENIENT") == "1"}
	var problems []graph.Problem
	o.Settings, problems = confdir.LoadSettings(confdir.SettingsFile(v.project.Configs[len(v.project.Configs)-1]), o)
	loaded := confdir.Load(v.project.Configs, o)
	problems = append(loaded.Problems, problems...)
	problems = slices.DeleteFunc(problems, func(p graph.Problem) bool { return p.Severity == graph.SeverityNote })
	if v.reject(problems) {
		return nil, failf(exitBadConfig, "nothing was started: correct the configuration first")
	}
	var known []string
	for _, c := range loaded.Configs {
		known = append(known, c.Name)
		if c.Status == graph.StatusStart && len(c.Schedules) == 0 {
			fresh = append(fresh, c.Name)
		}
	}
	slices.Sort(fresh)
	return fresh, v.checkNames(names, known, loaded.Inactive())
}

// launch starts the project's server below a keeper.
func (v *invocation) launch(names, profiles []string) (*process, error) {
	p := v.project
	if err := p.Prepare(os.Geteuid()); err != nil {
		return nil, failf(exitCode(err), "%v", err)
	}
	socket := firstOf(v.socket, os.Getenv(socketVariable), p.Socket())
	v.awaitFree(socket)
	argv := []string{"zinit-pid1", "--socket", socket}
	for _, dir := range p.Configs {
		argv = append(argv, "--config", dir)
	}
	for _, name := range profiles {
		argv = append(argv, "--profile", name)
	}
	if base := rpc.System().StateDir(); base != "" {
		argv = append(argv, "--state-dir", filepath.Join(base, p.Name))
	}
	if len(names) > 0 {
		argv = append(argv, "--target", names[0]) // what else is wanted is started when it answers
	}
	executable, err := os.Executable()
	if err != nil {
		return nil, failf(exitFailed, "cannot start the server: %v", err)
	}
	log, err := os.OpenFile(filepath.Join(p.Runtime, "server.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, failf(exitFailed, "cannot start the server: %v", err)
	}
	defer log.Close() //nolint:errcheck // the server has its own
	environ := slices.DeleteFunc(os.Environ(), func(pair string) bool { return strings.HasPrefix(pair, "NOTIFY_SOCKET=") })
	keeper, err := proc.StartDetached(executable, argv, p.Dir, environ, log)
	if err != nil {
		return nil, failf(exitFailed, "cannot start the server: %v", err)
	}
	started := &process{Process: keeper, ended: make(chan struct{}), log: log.Name()}
	go func() {
		defer close(started.ended)
		if state, err := keeper.Wait(); err == nil {
			started.code = max(state.ExitCode(), 0)
		}
	}()
	return started, nil
}

// lockPatience is how long the lock of a socket is waited for that nobody answers at.
const lockPatience = 5 * time.Second

// awaitFree waits until nobody holds the lock of a socket any more: the keeper of a server that has ended does for a moment.
func (v *invocation) awaitFree(socket string) {
	lock, err := os.OpenFile(socket+".lock", os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer lock.Close() //nolint:errcheck // nothing was written
	for until := time.Now().Add(lockPatience); time.Now().Before(until); {
		// Shared, so that two that wait do not refuse a server that starts; flock(2) can only be asked again.
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) || !sleep.For(v.ctx, awayFirst) {
			return
		}
	}
}

func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// launchPatience is how long a server may take until it answers.
const launchPatience = 20 * time.Second

// awaitLaunch connects to a server that was just started. One that ends instead has said why in its log.
func (v *invocation) awaitLaunch(p *process) (*rpc.Client, error) {
	for until := time.Now().Add(launchPatience); ; {
		client, err := v.client()
		if err == nil {
			if _, err = client.Ping(v.ctx); err == nil {
				return client, nil
			}
			_ = client.Close()
			v.conn = nil
		}
		select {
		case <-p.ended:
			return nil, failf(exitFailed, "the server does not start%s", lastLines(p.log))
		default:
		}
		if time.Now().After(until) {
			_ = p.Kill()
			return nil, failf(exitTimedOut, "the server does not answer after %s%s", durationText(launchPatience), lastLines(p.log))
		}
		if !sleep.For(v.ctx, awayFirst) {
			_ = p.Signal(os.Interrupt)
			return nil, silent(exitInterrupted)
		}
	}
}

// lastLines are the last ones that a server wrote, for an error.
func lastLines(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close() //nolint:errcheck // it was only read
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, size-4096), io.SeekStart)
	}
	data, _ := io.ReadAll(f)
	lines := strings.Split(strings.TrimSpace(string(bytes.ToValidUTF8(data, []byte("?")))), "\n")
	return ": " + strings.Join(lines[max(0, len(lines)-2):], "; ")
}

// upDetached starts what was asked for and waits until it runs.
func (v *invocation) upDetached(s *started, timeout time.Duration) error {
	names, err := v.upNames(s)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(v.ctx)
	told := make(chan struct{})
	go func() {
		defer close(told)
		v.tellProgress(ctx, s.server.Socket(), v.note)
	}()
	err = v.changeAll(s.server, verbStart, &selection{names: names}, rpc.Change{Wait: true, TimeoutMS: timeout.Milliseconds()})
	stop()
	<-told
	return err
}

// upNames are the services that shall be up: those that were asked for, else all that a server starts by itself.
func (v *invocation) upNames(s *started) ([]string, error) {
	switch {
	case len(s.names) > 0:
		return s.names, nil
	case s.ours != nil:
		return s.fresh, nil
	}
	bulk, err := s.server.StartAll(v.ctx)
	return slices.Sorted(slices.Values(bulk.Started)), err
}

// The pace at which a start that takes long says what it waits for: first, and then.
const (
	progressFirst = 3 * time.Second
	progressPace  = 5 * time.Second
)

// tellProgress says which services are not up yet and what each waits for, when that has changed.
func (v *invocation) tellProgress(ctx context.Context, socket string, say func(string)) {
	client, err := rpc.Dial(ctx, socket, rpc.WithReconnect(reconnectLimit))
	if err != nil || v.quiet {
		return
	}
	defer client.Close() //nolint:errcheck // nothing is left to send
	began := time.Now()
	for last, pace := "", progressFirst; sleep.For(ctx, pace); pace = progressPace {
		rows, err := client.ListFull(ctx, false)
		if err != nil {
			return
		}
		var waiting []string
		for _, row := range rows {
			if row.Wanted == "up" && (row.State.State == "starting" || row.State.State == "blocked") {
				text := row.Name + " is " + row.State.State
				if row.Text != "" {
					text += " (" + row.Text + ")"
				}
				waiting = append(waiting, text)
			}
		}
		switch text := someOf(waiting); {
		case len(waiting) == 0:
			return
		case text != last:
			last = text
			say(fmt.Sprintf("after %s: %s", durationText(time.Since(began).Round(time.Second)), text))
		}
	}
}

// someOf joins what is waited for, of much the beginning.
func someOf(list []string) string {
	const most = 6
	if len(list) > most {
		list = append(slices.Clone(list[:most]), fmt.Sprintf("and %d more", len(list)-most))
	}
	return strings.Join(list, ", ")
}
