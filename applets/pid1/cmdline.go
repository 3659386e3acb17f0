package pid1

import "strings"

// kernelWords is what the kernel command line says to us. Words that are not ours are ignored.
type kernelWords struct {
	log        string // zinit.log=
	config     string // zinit.config=
	target     string // zinit.target=
	container  string // zinit.container=: "1", "0", "" = not there
	shutdownMS int    // zinit.shutdown_ms=, 0 = not there
	rescue     bool   // single, rescue, …
	quiet      bool
	lenient    bool // zinit.lenient
}

// parseKernelWords reads a command line as the kernel does: words at white space, double quotes hold words together.
// The last of two words of one name wins. What stands behind -- is read as well: it is meant for us.
func parseKernelWords(line string) (k kernelWords) {
	for _, word := range splitKernelLine(line) {
		name, value, has := strings.Cut(word, "=")
		switch {
		case !has:
			k.flag(name)
		case name == "zinit.log":
			k.log = value
		case name == "zinit.config":
			k.config = value
		case name == "zinit.target":
			k.target = value
		case name == "zinit.container":
			k.container = truth(value)
		case name == "zinit.shutdown_ms":
			k.shutdownMS = max(number(value), 0)
		case name == "zinit.lenient":
			k.lenient = truth(value) == "1"
		case name == "zinitdebug" && value == "1":
			k.log = "debug"
		}
	}
	return k
}

func (k *kernelWords) flag(name string) {
	switch name {
	case "single", "rescue", "S", "s", "1":
		k.rescue = true
	case "quiet":
		k.quiet = true
	case "zinit.lenient":
		k.lenient = true
	}
}

func splitKernelLine(line string) (words []string) {
	var word strings.Builder
	quoted, inside := false, false
	for _, c := range []byte(line) {
		switch {
		case c == '"':
			quoted, inside = !quoted, true
		case !quoted && (c == ' ' || c == '\t' || c == '\n' || c == 0):
			if inside {
				words = append(words, word.String())
				word.Reset()
			}
			inside = false
		default:
			word.WriteByte(c)
			inside = true
		}
	}
	if inside {
		words = append(words, word.String())
	}
	return words
}

// serverFlags are the words as flags of the server; a flag that was given is not overridden.
func (k *kernelWords) serverFlags(given []string) []string {
	var flags []string
	log := k.log
	if k.quiet && log == "" {
		log = "warn"
	}
	for _, f := range []struct{ name, value string }{{"--log-level", log}, {"--config", k.config}, {"--target", k.target}} {
		if f.value != "" && !hasFlag(given, f.name) {
			flags = append(flags, f.name, f.value)
		}
	}
	if k.lenient && !hasFlag(given, "--lenient") {
		flags = append(flags, "--lenient")
	}
	return append(flags, given...)
}

func hasFlag(flags []string, name string) bool {
	for _, f := range flags {
		if f == name || strings.HasPrefix(f, name+"=") {
			return true
		}
	}
	return false
}
