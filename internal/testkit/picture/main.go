// Picture draws what commands print as an SVG, with the colours of a terminal. It runs the commands of a script for real:
//
//	picture -zinit dist/zinit -o docs/picture.svg <docs/picture.txt
//
// A line "$ COMMAND" is run and drawn with what it prints; "! COMMAND" is run and not drawn; a line that begins with "#" is
// drawn as a comment; others are ignored. Commands run in one directory of their own, where zinit prints colours; the last
// commands of a script end what the first ones began.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	charWidth  = 7.8 // of the 13 pixel font, in pixels
	lineHeight = 18
	margin     = 14
)

// colours of a terminal by the number of SGR(30 + n), readable on the dark ground of the picture.
var colours = [8]string{"#6e7681", "#ff7b72", "#7ee787", "#e3b341", "#79c0ff", "#d2a8ff", "#76e3ea", "#c9d1d9"}

func main() {
	out := flag.String("o", "picture.svg", "the file to write")
	zinit := flag.String("zinit", "dist/zinit", "the program")
	flag.Parse()
	lines, err := play(bufio.NewScanner(os.Stdin), *zinit)
	if err == nil {
		err = os.WriteFile(*out, []byte(draw(lines)), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

// play runs a script and returns what is to be drawn, with SGR sequences.
func play(script *bufio.Scanner, zinit string) ([]string, error) {
	zinit, err := filepath.Abs(zinit)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "picture")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	bin := filepath.Join(dir, ".bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return nil, err
	}
	coloured := fmt.Sprintf("#!/bin/sh\nexec '%s' --color always \"$@\"\n", zinit)
	if err := os.WriteFile(filepath.Join(bin, "zinit"), []byte(coloured), 0o755); err != nil {
		return nil, err
	}
	var lines []string
	for script.Scan() {
		line := script.Text()
		mark, command, _ := strings.Cut(line, " ")
		switch mark {
		case "#":
			lines = append(lines, "\x1b[30m"+line+"\x1b[0m")
		case "$", "!":
			cmd := exec.Command("sh", "-c", command)
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "ZINIT="+zinit, "ZINIT_SOCKET="+filepath.Join(dir, ".s"))
			printed, err := cmd.CombinedOutput()
			if mark == "!" {
				if err != nil {
					return nil, fmt.Errorf("%s: %w\n%s", command, err, printed)
				}
				continue
			}
			lines = append(lines, "\x1b[32m$\x1b[0m "+command)
			lines = append(lines, strings.Split(strings.TrimRight(string(printed), "\n"), "\n")...)
			lines = append(lines, "")
		}
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines, script.Err()
}

// draw makes the SVG.
func draw(lines []string) string {
	width := 0
	for _, line := range lines {
		n := 0
		for _, s := range spans(line) {
			n += len([]rune(s.text))
		}
		width = max(width, n)
	}
	w, h := float64(width)*charWidth+2*margin, len(lines)*lineHeight+2*margin
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %d" width="%.0f" height="%d" role="img">`+"\n", w, h, w, h)
	fmt.Fprintf(&b, "<title>zinit in a terminal</title>\n<rect width=\"100%%\" height=\"100%%\" rx=\"8\" fill=\"#0d1117\"/>\n")
	b.WriteString(`<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="13" fill="#c9d1d9">` + "\n")
	for i, line := range lines {
		// textLength keeps the columns where they are, whatever font the reader has.
		column := 0
		for _, s := range spans(line) {
			n := len([]rune(s.text))
			if strings.TrimSpace(s.text) != "" {
				fmt.Fprintf(&b, `<text x="%.1f" y="%d" textLength="%.1f" xml:space="preserve"%s>%s</text>`+"\n",
					margin+float64(column)*charWidth, margin+(i+1)*lineHeight-5, float64(n)*charWidth, s.style, html.EscapeString(s.text))
			}
			column += n
		}
	}
	b.WriteString("</g>\n</svg>\n")
	return b.String()
}

// span is text of one look.
type span struct{ text, style string }

// spans takes a line apart at its SGR sequences.
func spans(line string) []span {
	var list []span
	style := ""
	for line != "" {
		before, after, found := strings.Cut(line, "\x1b[")
		if before != "" {
			list = append(list, span{before, style})
		}
		if !found {
			break
		}
		codes, rest, _ := strings.Cut(after, "m")
		style, line = look(codes, style), rest
	}
	return list
}

// look is the style after an SGR sequence.
func look(codes, style string) string {
	for code := range strings.SplitSeq(codes, ";") {
		switch {
		case code == "" || code == "0":
			style = ""
		case code == "1":
			style += ` font-weight="bold"`
		case code == "2":
			style += ` opacity="0.6"`
		case len(code) == 2 && (code[0] == '3' || code[0] == '9') && code[1] >= '0' && code[1] < '8':
			style += fmt.Sprintf(` fill="%s"`, colours[code[1]-'0'])
		}
	}
	return style
}
