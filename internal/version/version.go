// Package version says which build this is.
package version

import "runtime/debug"

// base is the release that this tree becomes.
const base = "0.4.0"

// String is the release with the revision of the VCS stamp: "0.4.0+1a2b3c4d5e6f", with ".dirty" when the tree was
// changed, and the bare release in a build without a stamp.
func String() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return base
	}
	revision, dirty := "", false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value
		case "vcs.modified":
			dirty = s.Value == "true"
		}
	}
	if revision == "" {
		return base
	}
	text := base + "+" + revision[:min(12, len(revision))]
	if dirty {
		text += ".dirty"
	}
	return text
}
