package cli

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/zinit/zinit/internal/terminal"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// cell is one field of a table: its text, and the colour it is painted in after it was measured.
type cell struct{ text, color string }

// column is one column's heading.
type column struct {
	head  string
	right bool // numbers stand on the right
}

// table lays out rows under capital headings with two spaces between columns and no borders.
type table struct {
	columns []column
	rows    [][]cell
	style   style
	width   int    // of the terminal; 0 = do not cut
	indent  string // before every line
	noHead  bool
}

func (t *table) add(cells ...cell) { t.rows = append(t.rows, cells) }

// String renders the table; every line ends with a newline. Only the last column is ever cut.
func (t *table) String() string {
	widths := t.widths()
	var b strings.Builder
	if !t.noHead {
		heads := make([]cell, len(t.columns))
		for i, c := range t.columns {
			heads[i] = cell{c.head, bold}
		}
		t.line(&b, heads, widths)
	}
	for _, row := range t.rows {
		t.line(&b, row, widths)
	}
	return b.String()
}

func (t *table) widths() []int {
	widths := make([]int, len(t.columns))
	for i, c := range t.columns {
		if !t.noHead {
			widths[i] = utf8.RuneCountInString(c.head)
		}
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i].text))
		}
	}
	return widths
}

func (t *table) line(b *strings.Builder, row []cell, widths []int) {
	var line strings.Builder
	line.WriteString(t.indent)
	used := utf8.RuneCountInString(t.indent)
	for i, c := range row {
		last := i == len(row)-1
		text := c.text
		if last && t.width > 0 {
			text = terminal.Cut(text, max(t.width-used, 8))
		}
		gap := strings.Repeat(" ", max(widths[i]-utf8.RuneCountInString(text), 0))
		painted := t.style.paint(c.color, text)
		switch {
		case t.columns[i].right:
			line.WriteString(gap + painted)
		case last:
			line.WriteString(painted)
		default:
			line.WriteString(painted + gap)
		}
		if !last {
			line.WriteString("  ")
		}
		used += widths[i] + 2
	}
	b.WriteString(strings.TrimRight(line.String(), " "))
	b.WriteByte('\n')
}
