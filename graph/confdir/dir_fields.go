package confdir

import (
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/zinit/zinit/graph"
)

// dirDocs say what each kind of directory is for.
var dirDocs = [graph.NDirs]string{
	"Directory below /run, or several, made at each start with the service's owner, and removed when it has ended",
	"Directory below /var/lib, or several, made with the service's owner; it stays",
	"Directory below /var/cache, or several, made with the service's owner; it stays",
	"Directory below /var/log, or several, made with the service's owner; it stays",
}

// dirFields are runtime_dir and its siblings, each with its mode.
func dirFields() []field {
	var fields []field
	for kind := range graph.NDirs {
		key := kind.String()
		names := field{key: key, doc: dirDocs[kind], schema: stringOrList(),
			read: func(r *reader, v any) {
				if _, isList := v.([]any); !isList {
					v = []any{v}
				}
				if list, ok := r.strings(v, checkDirName); ok {
					r.cfg.Dirs[kind].Names = list
				}
			},
			value: func(c *graph.Config) any {
				switch list := c.Dirs[kind].Names; len(list) {
				case 0:
					return nil
				case 1:
					return list[0]
				default:
					return slices.Clone(list)
				}
			}}
		mode := field{key: key + "_mode", doc: "Permissions of " + key + `: an octal string such as "0750"`,
			schema: map[string]any{"type": []string{"string", "integer"}},
			read: func(r *reader, v any) {
				if n, ok := r.mode(v); ok {
					r.cfg.Dirs[kind].Mode = n
				}
			},
			value: func(c *graph.Config) any {
				if c.Target {
					return nil
				}
				return "0" + strconv.FormatUint(uint64(c.Dirs[kind].Mode), 8)
			}}
		fields = append(fields, names, mode)
	}
	return fields
}

// checkDirName: a name stays below its place, and may stand in a list with colons.
func checkDirName(s string) error {
	outside := path.IsAbs(s) || s == "." || s == ".." || strings.HasPrefix(s, "../")
	if s == "" || outside || path.Clean(s) != s || strings.Contains(s, ":") {
		return errors.New(`want a name such as "web" or "web/cache", made below its place, not ` +
			strconv.Quote(s))
	}
	return nil
}

// fileTableField is a table of names and files; a relative path counts from the file it stands in.
func fileTableField(key, doc string, at at[map[string]string],
	check func(name string) error) field {
	return field{key: key, doc: doc,
		schema: map[string]any{"type": "object", "additionalProperties": typed("string")},
		read: func(r *reader, v any) {
			files := map[string]string{}
			if r.each(v, "a table of names and files", func(name string, value any) {
				if err := check(name); err != nil {
					r.fail("%s", err)
				} else if file, ok := r.path(value); ok {
					files[name] = file
				}
			}) && len(files) > 0 {
				*at(r.cfg) = files
			}
		},
		value: func(c *graph.Config) any {
			files := *at(c)
			if len(files) == 0 {
				return nil
			}
			t := table{}
			for _, name := range sortedKeys(files) {
				t = append(t, pair{name, files[name]})
			}
			return t
		},
	}
}

func checkVariable(name string) error {
	if name == "" || strings.ContainsAny(name, "=\x00") {
		return errors.New(strconv.Quote(name) + " cannot be the name of a variable")
	}
	return nil
}

// checkCredential: the name becomes that of a file.
func checkCredential(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > 255 || strings.ContainsAny(name, "/\x00") {
		return errors.New(strconv.Quote(name) + " cannot be the name of a credential: it becomes the name of a file")
	}
	return nil
}
