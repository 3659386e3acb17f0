package confdir

import (
	"strconv"
	"strings"
)

// portKey is the key of [services.NAME] with the port that a service is given and its dependents are told.
const portKey = "port"

// unknownPort stands for a port that is picked at the start of a server, where none is picked.
const unknownPort = 1

// portsOf are the ports of all services that have one. What is no port is told where the service is read.
func (p *project) portsOf() map[string]int {
	ports := map[string]int{}
	services, _ := p.document[projectServices].(map[string]any)
	defaults, _ := p.document[projectDefaults].(map[string]any)
	for _, name := range sortedKeys(services) {
		values, _ := services[name].(map[string]any)
		v, ok := values[portKey]
		if !ok {
			v = defaults[portKey]
		}
		switch n, isInt := integer(v); {
		case isInt && n >= 1 && n <= 65535:
			ports[name] = int(n)
		case v == "auto" && p.o.Port != nil:
			ports[name] = p.o.Port(p.file, name)
		case v == "auto":
			ports[name] = unknownPort
		}
	}
	return ports
}

// given are the variables that a service has of its own port and of those of the services it depends on.
func (p *project) given(r *reader) map[string]any {
	d := r.member
	service := d.section("service")
	if v, ok := service[portKey]; ok {
		if _, isPort := p.ports[r.service]; !isPort {
			r.key = "service." + portKey
			r.fail(`want "auto" or a whole number from 1 to 65535, not %s`, describe(v))
		}
		delete(service, portKey)
	}
	vars := map[string]any{}
	if port, ok := p.ports[r.service]; ok {
		vars["PORT"] = strconv.Itoa(port)
	}
	dependencies, _ := d.document["dependencies"].(map[string]any)
	for _, kind := range []string{"requires", "binds", "wants", "after"} {
		names, _ := dependencies[kind].([]any)
		for _, name := range names {
			name, _ := name.(string)
			if port, ok := p.ports[name]; ok {
				vars[portVariable(name)] = strconv.Itoa(port)
			}
		}
	}
	return vars
}

// portVariable is NAME_PORT, in capitals and with _ for what a shell does not take.
func portVariable(name string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z':
			return c - 'a' + 'A'
		case c >= 'A' && c <= 'Z' || c >= '0' && c <= '9':
			return c
		}
		return '_'
	}, name) + "_PORT"
}

// tell adds the given variables to the environment of a service, where it does not say them itself.
func (d *member) tell(vars map[string]any) {
	service := d.section("service")
	env, isTable := service["env"].(map[string]any)
	if len(vars) == 0 || service["env"] != nil && !isTable {
		return
	}
	all := map[string]any{}
	for _, values := range []map[string]any{vars, env} {
		for name, v := range values {
			all[name] = v
		}
	}
	service["env"] = all
}

// portOf is the port that a text says a service has, nil = none.
func portOf(document map[string]any, name string) any {
	services, _ := document[projectServices].(map[string]any)
	values, _ := services[name].(map[string]any)
	return values[portKey]
}
