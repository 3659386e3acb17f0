// Package terminal makes text that others wrote fit to be shown on a terminal, and says whether a stream is one.
package terminal

import (
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Is reports whether a stream is a terminal: whether it has a descriptor, and the kernel knows its line settings.
func Is(stream any) bool {
	f, ok := stream.(interface{ Fd() uintptr })
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// WantColor decides about colour. when is auto, always or never; NO_COLOR (no-color.org) and a dumb terminal switch off
// what is automatic.
func WantColor(when string, isTerminal bool) bool {
	switch when {
	case "always":
		return true
	case "never":
		return false
	}
	return isTerminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// reset ends all colours.
const reset = "\x1b[0m"

// Show is Escape for a line that a program wrote: its colours stay when color is set, and end with the line; else they
// are taken away. Every other control sequence is escaped.
func Show(text string, color bool) string {
	if strings.IndexByte(text, '\x1b') < 0 {
		return Escape(text)
	}
	var b strings.Builder
	kept := false
	eachPart(text, func(part string, isColor bool) {
		switch {
		case !isColor:
			b.WriteString(Escape(part))
		case color:
			b.WriteString(part)
			kept = true
		}
	})
	if kept {
		b.WriteString(reset)
	}
	return b.String()
}

// Strip takes the colours out of a line and leaves everything else as it is.
func Strip(text string) string {
	if strings.IndexByte(text, '\x1b') < 0 {
		return text
	}
	var b strings.Builder
	eachPart(text, func(part string, isColor bool) {
		if !isColor {
			b.WriteString(part)
		}
	})
	return b.String()
}

// HasColor reports whether a line has colours in it.
func HasColor(text string) bool {
	found := false
	if strings.IndexByte(text, '\x1b') >= 0 {
		eachPart(text, func(_ string, isColor bool) { found = found || isColor })
	}
	return found
}

// eachPart divides a line into colours and what is between them.
func eachPart(text string, use func(part string, isColor bool)) {
	from := 0
	for i := 0; i < len(text); {
		n := colorLen(text[i:])
		if n == 0 {
			i++
			continue
		}
		if i > from {
			use(text[from:i], false)
		}
		use(text[i:i+n], true)
		i += n
		from = i
	}
	if from < len(text) {
		use(text[from:], false)
	}
}

// maxColor is the longest colour that is taken for one, in bytes: two of 24 bits and some attributes fit.
const maxColor = 64

// colorLen is the length of the colour sequence (SGR of ECMA-48: ESC [ numbers m) that text begins with, 0 where it does
// not.
func colorLen(text string) int {
	if !strings.HasPrefix(text, "\x1b[") {
		return 0
	}
	for i := 2; i < min(len(text), maxColor); i++ {
		switch c := text[i]; {
		case c == 'm':
			return i + 1
		case c != ';' && c != ':' && (c < '0' || c > '9'):
			return 0
		}
	}
	return 0
}

// Cut shortens text to width columns, the last one a … when something was lost. Colours take no room.
func Cut(text string, width int) string {
	if width < 1 || utf8.RuneCountInString(Strip(text)) <= width {
		return text
	}
	var b strings.Builder
	colored := false
	left := width - 1
	eachPart(text, func(part string, isColor bool) {
		if isColor {
			if left > 0 {
				b.WriteString(part)
				colored = true
			}
			return
		}
		for _, r := range part {
			if left > 0 {
				b.WriteRune(r)
			}
			left--
		}
	})
	b.WriteString("…")
	if colored {
		b.WriteString(reset)
	}
	return b.String()
}

// Escape makes text safe to stand in one line on a terminal: control characters, C1 controls and the marks that turn
// the writing direction are written as escapes, a tab stays. What a service writes can so neither move the cursor
// nor pretend to be another line.
func Escape(text string) string {
	if isPlain(text) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r != '\t' && (r < 0x20 || r == 0x7f):
			fmt.Fprintf(&b, `\x%02x`, r)
		case isUnsafe(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
		i += size
	}
	return b.String()
}

func isPlain(text string) bool {
	for i := 0; i < len(text); i++ {
		if c := text[i]; c >= 0x7f || c < 0x20 && c != '\t' {
			return false
		}
	}
	return true
}

// isUnsafe reports whether a rune above ASCII steers a terminal instead of being shown.
func isUnsafe(r rune) bool {
	return r >= 0x80 && r <= 0x9f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x2028 || r == 0x2029
}
