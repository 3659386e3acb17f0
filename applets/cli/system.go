package cli

import (
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"

	"github.com/urfave/cli/v2"

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
		Action: v.withClient(0, 0, func(_ *cli.Context, client *rpc.Client, _ []string) error {
			p, err := client.Ping(v.ctx)
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
			"The new file is checked first; a refusal changes nothing.",
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
			return v.print(up, nil, func() string {
				if v.quiet {
					return ""
				}
				return fmt.Sprintf("upgrading from %s to %s\n", up.From, up.To)
			})
		}),
	}
}

func absolutePath(path string) (string, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", failf(exitFailed, "cannot find the directory this runs in: %v", cause(err))
	}
	return absolute, nil
}

// waitForEnd reads from a connection of its own until the server closes it by ending.
func (v *invocation) waitForEnd(socket string) (func() error, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	return func() error {
		defer conn.Close() //nolint:errcheck // nothing is left to send
		ended := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, conn)
			ended <- err
		}()
		select {
		case <-v.ctx.Done():
			return failf(exitInterrupted, "stopped waiting; the server goes on shutting down")
		case <-ended:
			return nil
		}
	}, nil
}

// notReachable reports whether err says that no server could be talked to.
func notReachable(err error) bool {
	var lost *rpc.TransportError
	var answer *wire.Error
	return errors.As(err, &lost) && !errors.As(err, &answer)
}
