package proc

import "github.com/zinit/zinit/graph"

// EnvFileValues reads an env_file as ReadEnvFile does; of several lines about a variable the last one counts.
func EnvFileValues(path string, format graph.EnvFormat) (map[string]string, error) {
	file, err := ReadEnvFile(path, &graph.Config{EnvFormat: format})
	if err != nil {
		return nil, err
	}
	values := make(map[string]string, len(file.Vars))
	for _, v := range file.Vars {
		values[v.Name] = v.Value
	}
	return values, nil
}
