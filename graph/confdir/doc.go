// Package confdir turns directories of TOML files, and the configuration documents of the RPC, into graph.Configs, and
// back. It is the only place that knows TOML. Every key stands in one table (fields.go): how it is read and checked, how it is
// written, its default, its line in the JSON Schema.
//
// Nothing here fails as a whole: what is wrong with one file is a graph.Problem with file, line and column, and costs
// that file's service only.
package confdir

import "github.com/zinit/zinit/graph"

// Options say how strict reading is. The zero value is strict about keys and does not look at owners.
type Options struct {
	Lenient bool // unknown keys and untrusted files are warnings
	// UnknownWarns makes unknown keys warnings without weakening the rest: at the boot of a machine.
	UnknownWarns bool
	Profiles     []string // the chosen ones: a service with profiles is loaded only if it has one of these
	System       bool     // read system/ of a root first; its services are of class system and shadow others of their name
	// Trust refuses, run as root, files and directories that others may write or that another user owns.
	Trust bool
	// TrustWarns makes those refusals warnings: in a container. On a read-only mount they always are.
	TrustWarns bool
	Settings   *Settings                   // the defaults of the logging bounds, and how many services there may be; nil = the built-in ones
	EnvFile    EnvFile                     // reads the files that ${NAME} of a zinit.toml may come from; nil = none is read
	Port       func(file, name string) int // the port of a service with port = "auto"; nil = it is not needed
	Dirs       []string                    // LoadSettings: the directories that are loaded; nil = not known
	// Loaded tells which services are loaded already: at a reload they come first where there is no room for all.
	Loaded func(name string) bool
}

// MaxFileBytes bounds a configuration file.
const MaxFileBytes = 1 << 20

// Loaded is what a set of directories holds.
type Loaded struct {
	Configs  []*graph.Config // sound files, in the order they were found
	Broken   []graph.Broken  // files that cannot be used and whose service is known
	Graph    *graph.Graph    // over both
	Problems []graph.Problem // of files and of the graph, by file and position
	sources  map[string][]byte
	inactive map[string]*graph.Config // not loaded, since none of their profiles is chosen
	unread   []string                 // each a zinit.toml that cannot be read at all
}
