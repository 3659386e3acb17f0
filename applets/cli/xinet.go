package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

func xinetCommands(v *invocation) []*cli.Command {
	return []*cli.Command{{
		Name: "xinet", Category: categorySystem, Usage: "socket proxies that start their service on the first connection",
		Subcommands: []*cli.Command{xinetSet(v), xinetDelete(v), xinetList(v), xinetStatus(v)},
	}}
}

func xinetSet(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "set", Aliases: []string{"register"}, Usage: "define or replace a proxy", ArgsUsage: "NAME",
		Description: "Listens on every --listen address, starts --service on the first connection, and passes the bytes to --backend.\n" +
			"An address is HOST:PORT, :PORT, unix:PATH or an absolute path.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "name", Usage: "the proxy's `NAME`"},
			&cli.StringSliceFlag{Name: "listen", Aliases: []string{"l"}, Usage: "`ADDRESS` to listen on; repeatable"},
			&cli.StringFlag{Name: "backend", Aliases: []string{"b"}, Usage: "`ADDRESS` the service listens on"},
			&cli.StringFlag{Name: "service", Usage: "`NAME` of the service to start"},
			&cli.Uint64Flag{Name: "connect-timeout", Usage: "`SECONDS` to wait for the backend"},
			&cli.Uint64Flag{Name: "idle-timeout", Usage: "stop the service after `SECONDS` without a connection, 0 = never"},
			&cli.BoolFlag{Name: "single-connection", Usage: "one connection at a time"},
		},
		Action: v.named(0, 1, func(c *cli.Context, args []string) error {
			config := wire.XinetConfig{
				Name: c.String("name"), Listen: c.StringSlice("listen"), Backend: c.String("backend"), Service: c.String("service"),
				ConnectTimeout: c.Uint64("connect-timeout"), IdleTimeout: c.Uint64("idle-timeout"), SingleConnection: c.Bool("single-connection"),
			}
			if len(args) == 1 {
				config.Name = args[0]
			}
			if missing := missingOf(config); missing != "" {
				return usagef("xinet set needs %s (see: zinit xinet set --help)", missing)
			}
			client, err := v.client()
			if err != nil {
				return err
			}
			err = client.XinetSet(v.ctx, config)
			if isCode(err, wire.CodeNotFound) {
				return failf(exitNoService, "cannot set proxy %s: no such service: %s%s", config.Name, config.Service, v.suggestion(client, config.Service))
			}
			if answer := (*wire.Error)(nil); errors.As(err, &answer) {
				text := trimName(strings.TrimPrefix(answer.Message, "invalid xinet config: "), config.Name)
				return failf(exitCode(err), "cannot set proxy %s: %s", config.Name, text)
			}
			if err != nil {
				return err
			}
			v.say(config.Name + ": listening on " + strings.Join(config.Listen, ", "))
			return nil
		}),
	}
}

func missingOf(c wire.XinetConfig) string {
	switch {
	case c.Name == "":
		return "a NAME"
	case len(c.Listen) == 0:
		return "--listen ADDRESS"
	case c.Backend == "":
		return "--backend ADDRESS"
	case c.Service == "":
		return "--service NAME"
	}
	return ""
}

func xinetDelete(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "delete", Aliases: []string{"unregister", "remove"}, Usage: "remove a proxy", ArgsUsage: "NAME",
		Action: v.withClient(1, 1, func(_ *cli.Context, client *rpc.Client, args []string) error {
			if err := client.XinetDelete(v.ctx, args[0]); err != nil {
				return v.explainProxy(client, "delete", args[0], err)
			}
			v.say(args[0] + ": removed")
			return nil
		}),
	}
}

// explainProxy is explain for the name of a proxy. That there is none of this name the server answers in two ways, both
// those of 0.3.9 (-32603 and -32000); here it is one, with the exit code of an unknown name.
func (v *invocation) explainProxy(client *rpc.Client, verb, name string, err error) error {
	var answer *wire.Error
	if !errors.As(err, &answer) {
		return err
	}
	known, listed := client.XinetList(v.ctx)
	switch {
	case listed != nil || slices.Contains(known, name):
		return failf(exitCode(err), "cannot %s proxy %s: %s", verb, name, trimName(answer.Message, name))
	case nearest(name, known) != "":
		return failf(exitNoService, "cannot %s proxy %s: no such proxy; did you mean %s?", verb, name, nearest(name, known))
	}
	return failf(exitNoService, "cannot %s proxy %s: no such proxy (zinit xinet list shows all)", verb, name)
}

func xinetList(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "list", Aliases: []string{"ls"}, Usage: "the names of all proxies",
		Action: v.withClient(0, 0, func(_ *cli.Context, client *rpc.Client, _ []string) error {
			names, err := client.XinetList(v.ctx)
			if err != nil {
				return err
			}
			return v.print(append([]string{}, names...), names, func() string {
				return strings.TrimPrefix(strings.Join(append([]string{""}, names...), "\n")+"\n", "\n")
			})
		}),
	}
}

// proxy is a proxy's state as -o json prints it.
type proxy struct {
	Name              string   `json:"name"`
	Listen            []string `json:"listen"`
	Backend           string   `json:"backend"`
	Service           string   `json:"service"`
	Running           bool     `json:"running"`
	ActiveConnections uint64   `json:"active_connections"`
	TotalConnections  uint64   `json:"total_connections"`
	BytesIn           uint64   `json:"bytes_to_backend"`
	BytesOut          uint64   `json:"bytes_from_backend"`
}

func proxyOf(s wire.XinetStatus) proxy {
	return proxy{s.Name, s.Listen, s.Backend, s.Service, s.Running, s.ActiveConnections, s.TotalConnections, s.BytesIn, s.BytesOut}
}

func xinetStatus(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "where proxies listen and what they carry", ArgsUsage: "[NAME...]",
		Action: v.withClient(0, -1, func(_ *cli.Context, client *rpc.Client, names []string) error {
			var list []wire.XinetStatus
			if len(names) == 0 {
				all, err := client.XinetStatusAll(v.ctx)
				if err != nil {
					return err
				}
				list = all
			}
			for _, name := range names {
				one, err := client.XinetStatus(v.ctx, name)
				if err != nil {
					return v.explainProxy(client, "show", name, err)
				}
				list = append(list, one)
			}
			return v.showProxies(list, len(names) == 1)
		}),
	}
}

func (v *invocation) showProxies(list []wire.XinetStatus, single bool) error {
	all, names := []proxy{}, []string{}
	t := &table{style: v.out.style, width: v.out.width, columns: []column{
		{head: "NAME"}, {head: "SERVICE"}, {head: "STATE"}, {head: "OPEN", right: true}, {head: "TOTAL", right: true}, {head: "IN", right: true},
		{head: "OUT", right: true}, {head: "BACKEND"}, {head: "LISTEN"},
	}}
	for _, s := range list {
		state := cell{"listening", green}
		if !s.Running {
			state = cell{"closed", red}
		}
		all, names = append(all, proxyOf(s)), append(names, s.Name)
		t.add(cell{s.Name, ""}, cell{s.Service, ""}, state, cell{fmt.Sprint(s.ActiveConnections), ""}, cell{fmt.Sprint(s.TotalConnections), ""},
			cell{sizeText(s.BytesIn), ""}, cell{sizeText(s.BytesOut), ""}, cell{s.Backend, ""}, cell{strings.Join(s.Listen, ", "), ""})
	}
	return v.print(oneOrAll(single, all), names, func() string {
		if len(all) == 0 {
			return ""
		}
		return t.String()
	})
}
