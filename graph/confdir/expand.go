package confdir

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/zinit/zinit/graph"
)

// EnvFile reads one env_file as a start would; a leading - of the path means that it may be missing.
type EnvFile func(path string, format graph.EnvFormat) (map[string]string, error)

// expansion replaces ${NAME} in the definition of one service of a zinit.toml.
type expansion struct {
	r      *reader
	layers []map[string]any // of variables; the first that has one counts
	files  func() (map[string]string, error)
	under  []string // the values that are being replaced, "LAYER NAME"
}

// expand replaces ${NAME} where it may stand: in dir, env, ports and a health check's target.
func (p *project) expand(r *reader, own any, given map[string]any) {
	d := r.member
	service := d.section("service")
	defaults, _ := p.document[projectDefaults].(map[string]any)
	x := &expansion{r: r, files: p.envFiles(r, service)}
	for _, v := range []any{own, defaults["env"], p.document[projectEnv]} {
		values, _ := v.(map[string]any)
		x.layers = append(x.layers, values)
	}
	x.layers = append(x.layers, given)
	x.at("service.dir", service, "dir")
	if env, ok := service["env"].(map[string]any); ok {
		expanded := map[string]any{}
		for _, name := range sortedKeys(env) {
			expanded[name] = env[name]
			if text, isText := env[name].(string); isText {
				r.key = "service.env." + name
				x.under = []string{name}
				expanded[name] = x.text(text, x.layerOf(name)+1)
				x.under = nil
			}
		}
		service["env"] = expanded
	}
	if ports, ok := service["ports"].([]any); ok {
		service["ports"] = x.ports(ports)
	}
	health, _ := d.document["health"].(map[string]any)
	for _, key := range []string{"target", "endpoint"} {
		if argv, isList := health[key].([]any); isList {
			argv = slices.Clone(argv)
			for i := range argv {
				x.at("health."+key, argv, i)
			}
			health[key] = argv
		} else if health != nil {
			x.at("health."+key, health, key)
		}
	}
}

// at replaces the text that stands at a place of a table or list.
func (x *expansion) at(key string, holder any, place any) {
	x.r.key = key
	switch holder := holder.(type) {
	case map[string]any:
		if text, ok := holder[place.(string)].(string); ok {
			holder[place.(string)] = x.text(text, 0)
		}
	case []any:
		if text, ok := holder[place.(int)].(string); ok {
			holder[place.(int)] = x.text(text, 0)
		}
	}
}

// ports makes numbers of the texts with variables.
func (x *expansion) ports(list []any) []any {
	x.r.key = "service.ports"
	list = slices.Clone(list)
	for i, v := range list {
		text, ok := v.(string)
		if !ok || !strings.Contains(text, "$") {
			continue
		}
		said := len(x.r.problems)
		text = x.text(text, 0)
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil && len(x.r.problems) == said {
			x.r.failAt(i, "want a port, %s is %s", v, strconv.Quote(text))
		}
		if list[i] = any(n); err != nil {
			list[i] = int64(1) // the error is told
		}
	}
	return list
}

func (x *expansion) layerOf(name string) int {
	return slices.IndexFunc(x.layers, func(values map[string]any) bool { _, ok := values[name]; return ok })
}

// text replaces ${NAME} and $$ in a text. A variable of the name that is being set is looked for from layer from on.
func (x *expansion) text(s string, from int) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "$")
		b.WriteString(before)
		switch {
		case !found:
			return b.String()
		case strings.HasPrefix(after, "$"):
			b.WriteByte('$')
			s = after[1:]
		case !strings.HasPrefix(after, "{"):
			b.WriteByte('$')
			s = after
		default:
			name, rest, closed := strings.Cut(after[1:], "}")
			if !closed || checkVariable(name) != nil || strings.ContainsAny(name, ":-+?#%/ .") {
				x.r.fail("want ${NAME}, not ${%s: only a name is replaced here, and $$ stands for a dollar", strings.TrimSuffix(after[1:], rest))
				return ""
			}
			value, ok := x.variable(name, from)
			if !ok {
				return ""
			}
			b.WriteString(value)
			s = rest
		}
	}
}

// variable is the value of a variable; false when that is an error, which it reports.
func (x *expansion) variable(name string, from int) (string, bool) {
	first := 0
	if n := len(x.under); n > 0 && x.under[n-1] == name {
		first = from
	} else if slices.Contains(x.under, name) {
		x.r.fail("${%s} refers to itself: %s", name, strings.Join(append(x.under, name), " -> "))
		return "", false
	}
	for layer := first; layer < len(x.layers); layer++ {
		if v, there := x.layers[layer][name]; there {
			text, isText := v.(string)
			if !isText {
				x.r.fail("${%s} is no string", name)
				return "", false
			}
			said := len(x.r.problems)
			x.under = append(x.under, name)
			text = x.text(text, layer+1)
			x.under = x.under[:len(x.under)-1]
			return text, len(x.r.problems) == said
		}
	}
	values, err := x.files()
	value, ok := values[name]
	switch {
	case ok:
	case err != nil:
		x.r.fail("${%s} is not set here, and %v", name, err)
	default:
		x.r.fail("${%s} is not set: give it a value in [%s] or an env_file; $$ stands for a dollar", name, projectEnv)
	}
	return value, ok
}

// envFiles reads the env files of a service when they are first asked for; a later one wins.
func (p *project) envFiles(r *reader, service map[string]any) func() (map[string]string, error) {
	var all map[string]string
	var failed error
	return func() (map[string]string, error) {
		if all != nil || p.o.EnvFile == nil {
			return all, failed
		}
		all = map[string]string{}
		word, _ := service["env_file_format"].(string)
		format, _ := graph.ParseEnvFormat(word)
		files, isList := service["env_file"].([]any)
		if !isList {
			files = []any{service["env_file"]}
		}
		for _, v := range files {
			file, ok := v.(string)
			if !ok {
				continue
			}
			dash := ""
			if rest, optional := strings.CutPrefix(file, "-"); optional {
				dash, file = "-", rest
			}
			if !filepath.IsAbs(file) {
				file = filepath.Join(r.base, file)
			}
			values, err := p.envFile(dash+file, format)
			if err != nil {
				failed = err
			}
			for name, value := range values {
				all[name] = value
			}
		}
		return all, failed
	}
}

// envValues is what an env_file holds, or why it cannot be read.
type envValues struct {
	values map[string]string
	err    error
}

// envFile reads each env_file once.
func (p *project) envFile(path string, format graph.EnvFormat) (map[string]string, error) {
	key := format.String() + " " + path
	read, ok := p.files[key]
	if !ok {
		read.values, read.err = p.o.EnvFile(path, format)
		if p.files == nil {
			p.files = map[string]envValues{}
		}
		p.files[key] = read
	}
	return read.values, read.err
}
