package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path/filepath"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/internal/sleep"
	"github.com/zinit/zinit/internal/version"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

func systemCommands(v *invocation) []*cli.Command {
	commands := []*cli.Command{pingCommand(v), versionCommand(v), upgradeCommand(v)}
	for _, p := range powers {
		commands = append(commands, powerCommand(v, p))
	}
	return commands
}

func pingCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "ping", Category: categorySystem, Usage: "ask whether a server answers",
		Flags: []cli.Flag{&cli.StringFlag{Name: "timeout", Aliases: []string{"t"}, Usage: "wait `TIME` for a server to appear and answer, 0 without end"}},
		Action: v.named(0, 0, func(c *cli.Context, _ []string) error {
			timeout, err := durationFlag(c, "timeout", 0)
			if err != nil {
				return err
			}
			p, err := v.ping(c, timeout)
			if err != nil {
				return err
			}
			return v.print(p, nil, func() string {
				if v.quiet {
					return ""
				}
				return fmt.Sprintf("zinit %s answers: pid %d, up %s, mode %s\n", p.Version, p.PID, msText(p.UptimeMS), p.Mode)
			})
		}),
	}
}

// ping asks whether a server answers, for as long as the timeout says if one was given.
func (v *invocation) ping(c *cli.Context, timeout time.Duration) (wire.Ping, error) {
	ctx, began := v.ctx, time.Now()
	client, err := v.clientWithin(c, timeout)
	if err != nil {
		return wire.Ping{}, err
	}
	if timeout > 0 {
		bounded, stop := context.WithTimeout(ctx, max(timeout-time.Since(began), time.Millisecond))
		defer stop()
		ctx = bounded
	}
	p, err := client.Ping(ctx)
	if err != nil && ctx.Err() != nil && v.ctx.Err() == nil {
		return p, failf(exitTimedOut, "timed out after %s waiting for the server at %s to answer", durationText(timeout), client.Socket())
	}
	return p, err
}

func versionCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "version", Category: categorySystem, Usage: "the version of this program, and of the server if one answers",
		Action: v.named(0, 0, func(c *cli.Context, _ []string) error {
			versions := struct {
				Client string  `json:"client"`
				Server *string `json:"server"`
			}{Client: version.String()}
			if !c.Bool("version") { // `zinit --version` never looks for a server
				if client, err := v.client(); err == nil {
					if p, err := client.Ping(v.ctx); err == nil {
						versions.Server = &p.Version
					}
				}
			}
			return v.print(versions, nil, func() string {
				text := "zinit " + versions.Client + "\n"
				if versions.Server != nil && *versions.Server != versions.Client {
					text += "server " + *versions.Server + "\n"
				}
				return text
			})
		}),
	}
}

func upgradeCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "upgrade", Category: categorySystem, Usage: "let the server execute a new file in place; services notice nothing", ArgsUsage: "[PATH]",
		Description: "Without PATH the server executes the file it was started from, which may have been replaced.\n" +
			"The new file is checked first; a refusal changes nothing. The command ends when the new one serves, or with exit\n" +
			"code 1 and the reason when the upgrade failed or was taken back.",
		Action: v.withClient(0, 1, func(_ *cli.Context, client *rpc.Client, args []string) error {
			path := ""
			if len(args) == 1 {
				absolute, err := absolutePath(args[0])
				if err != nil {
					return err
				}
				path = absolute
			}
			up, err := client.Upgrade(v.ctx, path)
			if err != nil {
				return v.explainConfig("upgrade", err)
			}
			if err := v.awaitUpgrade(client.Socket(), up); err != nil {
				return err
			}
			return v.print(up, nil, func() string {
				if v.quiet {
					return ""
				}
				return fmt.Sprintf("upgraded from %s to %s\n", up.From, up.To)
			})
		}),
	}
}

// upgradePatience is how long an upgrade may take until the new server answers: a keeper goes back to the executable
// before after three deaths, which takes a few seconds.
const upgradePatience = time.Minute

// awaitUpgrade waits for what comes of an upgrade. Each question has a connection of its own: the server may be anywhere
// between the two executables.
func (v *invocation) awaitUpgrade(socket string, up wire.Upgrade) error {
	if up.ID == 0 {
		return nil // an older server does not tell
	}
	ctx, stop := context.WithTimeout(v.ctx, upgradePatience)
	defer stop()
	for {
		last, err := lastUpgrade(ctx, socket)
		switch {
		case v.ctx.Err() != nil:
			return failf(exitInterrupted, "stopped waiting; the upgrade goes on")
		case errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist):
			return failf(exitFailed, "the server ended in the upgrade to %s; see its log, and start it again", up.To)
		case ctx.Err() != nil:
			return failf(exitFailed, "the upgrade to %s has not ended after %s: the server does not answer", up.To, upgradePatience)
		case err != nil || last == nil || last.ID < up.ID || last.Outcome == "under way":
			select {
			case <-ctx.Done():
			case <-time.After(upgradeLook):
			}
		case last.ID == up.ID && last.Outcome != "done":
			return failf(exitFailed, "the upgrade to %s %s: %s; version %s goes on", up.To, wasOrNot(last.Outcome), last.Reason, up.From)
		default:
			return nil
		}
	}
}

// upgradeLook is the pace of awaitUpgrade's questions.
const upgradeLook = 20 * time.Millisecond

// wasOrNot makes a sentence of an outcome.
func wasOrNot(outcome string) string {
	if outcome == "rolled back" {
		return "was taken back"
	}
	return outcome
}

func lastUpgrade(ctx context.Context, socket string) (*wire.LastUpgrade, error) {
	client, err := rpc.Dial(ctx, socket)
	if err != nil {
		return nil, err
	}
	defer client.Close() //nolint:errcheck // nothing is left to send
	status, err := client.SystemStatus(ctx)
	return status.LastUpgrade, err
}

func absolutePath(path string) (string, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", failf(exitFailed, "cannot find the directory this runs in: %v", cause(err))
	}
	return absolute, nil
}

// waitForEnd reads from a connection of its own until the server closes it by ending. Where another server has taken over
// that goes on with the end, after a crash, it is that one's end which is waited for.
func (v *invocation) waitForEnd(socket string) (func() error, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	return func() error {
		for conn != nil {
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_, _ = io.Copy(io.Discard, conn)
			}()
			select {
			case <-v.ctx.Done():
				_ = conn.Close()
				return failf(exitInterrupted, "stopped waiting; the server goes on shutting down")
			case <-ended:
			}
			_ = conn.Close()
			conn = v.nextEnding(socket)
		}
		return nil
	}, nil
}

// nextEnding connects to the server that goes on with the end of everything, nil when there is none.
func (v *invocation) nextEnding(socket string) net.Conn {
	for {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return nil
		}
		client, err := rpc.Dial(v.ctx, socket)
		if err == nil {
			var p wire.Ping
			p, err = client.Ping(v.ctx)
			_ = client.Close()
			if err == nil && p.Ending != nil {
				return conn
			}
		}
		_ = conn.Close()
		if err == nil || !sleep.For(v.ctx, awayFirst) {
			return nil
		}
	}
}

// notReachable reports whether err says that no server could be talked to.
func notReachable(err error) bool {
	var lost *rpc.TransportError
	var answer *wire.Error
	return errors.As(err, &lost) && !errors.As(err, &answer)
}
