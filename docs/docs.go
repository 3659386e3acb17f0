// Package docs carries the pages that the program itself shows.
package docs

import _ "embed"

// Migration is the page for users of zinit 0.3.9; `zinit help migration` prints it.
//
//go:embed migration.md
var Migration string
