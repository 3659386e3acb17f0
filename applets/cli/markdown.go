package cli

import (
	"strings"
	"unicode/utf8"
)

// pageWidth is how wide a page is laid out where the terminal does not say, or is wider.
const pageWidth = 100

// readable lays out a page of docs/, which is Markdown, for a terminal: headings without their marks, tables in columns
// whose cells are broken into lines. All else in our pages reads well as it is.
func readable(page string, width int, st style) string {
	if width <= 0 || width > pageWidth {
		width = pageWidth
	}
	var b strings.Builder
	var rows [][]string
	flush := func() {
		if len(rows) > 0 {
			b.WriteString(layTable(rows, width, st))
			rows = nil
		}
	}
	for line := range strings.Lines(page) {
		line = strings.TrimRight(line, "\n")
		switch heading := strings.TrimLeft(line, "#"); {
		case strings.HasPrefix(line, "|"):
			if cells := tableCells(line); !isRule(cells) {
				rows = append(rows, cells)
			}
		case heading != line && strings.HasPrefix(heading, " "):
			flush()
			b.WriteString(st.paint(bold, heading[1:]) + "\n")
		default:
			flush()
			b.WriteString(line + "\n")
		}
	}
	flush()
	return b.String()
}

// tableCells splits a row; a bar behind a backslash belongs to the text.
func tableCells(line string) []string {
	const bar = "\x00"
	line = strings.ReplaceAll(strings.Trim(strings.TrimSpace(line), "|"), `\|`, bar)
	cells := strings.Split(line, "|")
	for i, c := range cells {
		cells[i] = strings.TrimSpace(strings.ReplaceAll(c, bar, "|"))
	}
	return cells
}

// isRule tells the line between head and rows.
func isRule(cells []string) bool { return strings.Trim(strings.Join(cells, ""), "-: ") == "" }

// layTable sets rows, of which the first is the head, in columns that fit the width together.
func layTable(rows [][]string, width int, st style) string {
	widths := fitColumns(rows, width-2)
	several := false // lines in a row
	var lines [][][]string
	for _, row := range rows {
		cells := make([][]string, len(widths))
		for i := range widths {
			if i < len(row) {
				cells[i] = wrap(row[i], widths[i])
			}
			several = several || len(cells[i]) > 1
		}
		lines = append(lines, cells)
	}
	var b strings.Builder
	for n, cells := range lines {
		if several && n > 0 {
			b.WriteByte('\n')
		}
		for i := range tallest(cells) {
			text := "  "
			for column, cell := range cells {
				part := ""
				if i < len(cell) {
					part = cell[i]
				}
				gap := strings.Repeat(" ", widths[column]-utf8.RuneCountInString(part)+2)
				if n == 0 {
					part = st.paint(bold, part)
				}
				text += part + gap
			}
			b.WriteString(strings.TrimRight(text, " ") + "\n")
		}
	}
	return b.String()
}

func tallest(cells [][]string) (most int) {
	for _, c := range cells {
		most = max(most, len(c))
	}
	return most
}

// fitColumns gives each column its natural width, and where that is too much together, takes from the widest ones.
func fitColumns(rows [][]string, width int) []int {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 1)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for {
		total, widest := 2*(len(widths)-1), 0
		for i, w := range widths {
			total += w
			if w > widths[widest] {
				widest = i
			}
		}
		if total <= width || widths[widest] <= 12 {
			return widths
		}
		widths[widest]--
	}
}

// wrap breaks a text at blanks into lines of at most width; a longer word is broken where it must.
func wrap(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		for {
			room := width - utf8.RuneCountInString(line)
			if line != "" {
				room--
			}
			if utf8.RuneCountInString(word) <= room {
				break
			}
			if line == "" {
				r := []rune(word)
				lines, word = append(lines, string(r[:width])), string(r[width:])
				continue
			}
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
