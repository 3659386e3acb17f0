package cli

import (
	"encoding/json"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/graph/confdir"
)

// maxServiceFile bounds what add-service reads, in bytes: a request may not be longer.
const maxServiceFile = 1 << 20

// serviceFromFile reads a service file; paths in it count from its directory.
func (v *invocation) serviceFromFile(path string) (*definition, error) {
	file, shown := path, path
	source := v.in
	if path == "-" {
		file, shown = "", "standard input"
	} else {
		f, err := os.Open(path)
		if err != nil {
			return nil, failf(exitCode(err), "cannot read %s: %v (to add one without a file: zinit add-service NAME --exec COMMAND)", path, cause(err))
		}
		defer f.Close() //nolint:errcheck // it was only read
		source = f
	}
	data, err := io.ReadAll(io.LimitReader(source, maxServiceFile+1))
	switch {
	case err != nil:
		return nil, failf(exitFailed, "cannot read %s: %v", shown, cause(err))
	case len(data) > maxServiceFile:
		return nil, failf(exitBadConfig, "cannot add %s: more than 1 MiB is no service file", shown)
	}
	config, problems := confdir.Parse(file, data, confdir.Options{})
	if v.reject(problems) || config == nil {
		return nil, silent(exitBadConfig)
	}
	return &definition{config.Name, confdir.JSON(config)}, nil
}

// serviceFromFlags builds a service from --exec and its companions. A relative --dir counts from where the user is.
func (v *invocation) serviceFromFlags(c *cli.Context, args []string) (*definition, error) {
	name := c.String("name")
	switch {
	case name == "" && len(args) == 0:
		return nil, usagef("add-service --exec needs a NAME (see: zinit add-service --help)")
	case name == "":
		name = args[0]
	case len(args) > 0 && args[0] != name:
		return nil, usagef("two names: %s and %s", name, args[0])
	}
	document, err := flagDocument(c, name)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(document)
	if err != nil {
		return nil, failf(exitFailed, "cannot add %s: %v", name, err)
	}
	config, problems := confdir.ParseJSON(raw, confdir.Options{})
	if v.reject(problems) || config == nil {
		return nil, silent(exitBadConfig)
	}
	return &definition{name, raw}, nil
}

type object = map[string]any

func flagDocument(c *cli.Context, name string) (object, error) {
	service := object{"name": name, "exec": c.String("exec")}
	for _, key := range []string{"status", "user"} {
		if c.IsSet(key) {
			service[key] = c.String(key)
		}
	}
	if c.IsSet("dir") {
		dir, err := absolutePath(c.String("dir"))
		if err != nil {
			return nil, err
		}
		service["dir"] = dir
	}
	if c.Bool("oneshot") {
		service["oneshot"] = true
	}
	env := object{}
	for _, pair := range c.StringSlice("env") {
		key, value, found := strings.Cut(pair, "=")
		if !found || key == "" {
			return nil, usagef("cannot read --env %q: want NAME=VALUE", pair)
		}
		env[key] = value
	}
	if len(env) > 0 {
		service["env"] = env
	}
	document := object{"service": service}
	if deps := flagDependencies(c); len(deps) > 0 {
		document["dependencies"] = deps
	}
	lifecycle, err := flagLifecycle(c)
	if len(lifecycle) > 0 {
		document["lifecycle"] = lifecycle
	}
	return document, err
}

// flagDependencies reads the lists; zinit 0.3.9 took several names with commas.
func flagDependencies(c *cli.Context) object {
	deps := object{}
	for _, kind := range dependencyKinds {
		var names []string
		for _, value := range c.StringSlice(kind) {
			for _, name := range strings.Split(value, ",") {
				if name = strings.TrimSpace(name); name != "" {
					names = append(names, name)
				}
			}
		}
		if len(names) > 0 {
			deps[kind] = names
		}
	}
	return deps
}

func flagLifecycle(c *cli.Context) (object, error) {
	lifecycle := object{}
	if c.IsSet("restart") {
		lifecycle["restart"] = c.String("restart")
	}
	if c.IsSet("max-restarts") {
		lifecycle["max_restarts"] = c.Int("max-restarts")
	}
	for flag, key := range map[string]string{"restart-delay": "restart_delay_ms", "restart-delay-max": "restart_delay_max_ms"} {
		if !c.IsSet(flag) {
			continue
		}
		ms, err := strconv.ParseInt(c.String(flag), 10, 64) // a bare number is ms, as in 0.3.9 and in the file
		if err != nil {
			d, err := parseDuration(c.String(flag))
			if err != nil {
				return nil, usagef("cannot read --%s %q: want milliseconds, or a duration such as 2s", flag, c.String(flag))
			}
			ms = d.Milliseconds()
		}
		lifecycle[key] = ms
	}
	return lifecycle, nil
}
