package proc

import "strings"

// readSystemd reads a file as systemd reads an EnvironmentFile= (load_env_file in
// src/basic/env-file.c, versions 252 to 262): comments begin with # or ; at the start of a line
// only, '…' is literal, "…" knows \" \\ \` \$, a backslash elsewhere keeps the next byte, a
// backslash before a newline joins lines, quoted and bare parts may follow each other, and an open
// quote takes the rest of the file. Lines without =, and names that no shell could set, are passed
// over.
func (p *envParser) readSystemd() {
	const blanks, newlines = " \t\n\r", "\n\r"
	for {
		for p.at < len(p.data) && strings.IndexByte(blanks, p.data[p.at]) >= 0 {
			p.advance()
		}
		if p.at == len(p.data) {
			return
		}
		start := p.line
		if c := p.data[p.at]; c == '#' || c == ';' {
			p.systemdComment()
			continue
		}
		end := strings.IndexAny(p.data[p.at:], "="+newlines)
		if end < 0 || p.data[p.at+end] != '=' {
			p.file.Ignored = append(p.file.Ignored, start)
			if end < 0 {
				return
			}
			p.at += end
			continue
		}
		name := strings.TrimRight(p.data[p.at:p.at+end], blanks)
		p.at += end + 1
		if value := p.systemdValue(); isName(name) {
			p.file.Vars = append(p.file.Vars, EnvVar{name, value})
		} else {
			p.file.Ignored = append(p.file.Ignored, start)
		}
	}
}

// advance passes one byte.
func (p *envParser) advance() byte {
	c := p.data[p.at]
	p.at++
	if c == '\n' {
		p.line++
	}
	return c
}

// systemdComment passes a comment, which a backslash before the newline continues.
func (p *envParser) systemdComment() {
	for p.at < len(p.data) {
		switch c := p.advance(); {
		case c == '\\' && p.at < len(p.data):
			p.advance()
		case c == '\n' || c == '\r':
			return
		}
	}
}

// systemdValue reads a value up to its newline. Quotes count until the first bare byte: behind it
// they are literal.
func (p *envParser) systemdValue() string {
	var b strings.Builder
	kept, bare := 0, false // length of b without trailing bare blanks; a bare byte was read
	for p.at < len(p.data) {
		switch c := p.advance(); {
		case c == '\n' || c == '\r':
			return b.String()[:kept]
		case c == '\\':
			bare = true
			if p.at < len(p.data) {
				if c = p.advance(); c != '\n' && c != '\r' {
					b.WriteByte(c)
				}
			}
			kept = b.Len()
		case !bare && (c == '\'' || c == '"'):
			p.systemdQuoted(&b, c)
			kept = b.Len()
		case c == ' ' || c == '\t':
			if bare {
				b.WriteByte(c)
			}
		default:
			bare = true
			b.WriteByte(c)
			kept = b.Len()
		}
	}
	return b.String()[:kept]
}

// systemdQuoted reads up to the closing quote, or to the end of the file.
func (p *envParser) systemdQuoted(b *strings.Builder, quote byte) {
	for p.at < len(p.data) {
		c := p.advance()
		switch {
		case c == quote:
			return
		case c == '\\' && quote == '"' && p.at < len(p.data):
			if c = p.advance(); strings.IndexByte("\"\\`$", c) < 0 && c != '\n' {
				b.WriteByte('\\')
			}
			if c != '\n' {
				b.WriteByte(c)
			}
		default:
			b.WriteByte(c)
		}
	}
}
