package proc

import "strings"

// readSh reads lines as sh(1) reads assignments, without expanding anything: values are quoted with
// '…' (literally), "…" and backslashes, quoted parts may span lines, blanks around a bare value are
// cut and a # after a blank begins a comment.
func (p *envParser) readSh() error {
	return p.pairs((*envParser).shName, (*envParser).shValue)
}

// shName reads an optional export, the name and the equals sign directly behind it.
func (p *envParser) shName() (string, error) {
	key, err := p.upTo("=")
	if err == nil && !isName(key) {
		err = errNoAssignment
	}
	return key, err
}

// shValue reads up to the end of the line or of the last quoted part.
func (p *envParser) shValue() (string, error) {
	var b strings.Builder
	p.blanks()
	kept := 0 // length of b without trailing bare blanks
	for p.at < len(p.data) && p.data[p.at] != '\n' {
		c := p.data[p.at]
		switch {
		case c == '\'' || c == '"':
			if err := p.quoted(&b, c); err != nil {
				return "", err
			}
			kept = b.Len()
			continue
		case c == '\\':
			p.escaped(&b)
			kept = b.Len()
			continue
		case c == '#' && b.Len() > kept, c == '#' && b.Len() == 0 && p.data[p.at-1] != '=':
			p.restOfLine()
			continue
		case c == '\r' && (p.at+1 == len(p.data) || p.data[p.at+1] == '\n'):
			p.at++
			continue
		}
		b.WriteByte(c)
		p.at++
		if c != ' ' && c != '\t' {
			kept = b.Len()
		}
	}
	return b.String()[:kept], nil
}

// quoted reads '…' or "…"; in the latter a backslash escapes $ ` " and itself, and joins lines.
func (p *envParser) quoted(b *strings.Builder, quote byte) error {
	for p.at++; p.at < len(p.data); p.at++ {
		c := p.data[p.at]
		switch {
		case c == quote:
			p.at++
			return nil
		case quote == '"' && c == '\\' && p.at+1 < len(p.data) && strings.IndexByte("$`\"\\\n", p.data[p.at+1]) >= 0:
			p.at++
			c = p.data[p.at]
			if c == '\n' {
				p.line++
				continue
			}
		case c == '\n':
			p.line++
		}
		b.WriteByte(c)
	}
	return errOpenQuote(quote)
}

// escaped reads a backslash outside quotes: it keeps the next byte, and joins lines.
func (p *envParser) escaped(b *strings.Builder) {
	p.at++
	switch {
	case p.at == len(p.data):
		b.WriteByte('\\')
		return
	case p.data[p.at] == '\n':
		p.line++
	default:
		b.WriteByte(p.data[p.at])
	}
	p.at++
}
