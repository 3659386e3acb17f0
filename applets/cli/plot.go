package cli

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/zinit/zinit/internal/terminal"
	"github.com/zinit/zinit/rpc/wire"
)

// The measures of the plot, in pixels.
const (
	plotLeft      = 24
	plotTop       = 96
	plotBars      = 900 // width of the time axis
	plotRow       = 22
	plotBar       = 14
	plotLetter    = 6.6 // width of one letter of a label, estimated
	plotLabelRoom = 260 // to the right of the axis
)

// plot is the drawing of one boot.
type plot struct {
	b        strings.Builder
	scale    float64 // pixels a ms
	end      float64 // ms, where the axis ends
	critical map[string]bool
}

// bootSVG draws the time line: one row for each part of the start and each service, grey while it waited, blue (red on the
// critical chain) from its start to being ready, and a thin line from there on.
func bootSVG(boot wire.Boot) string {
	rows := append([]wire.BootService{}, boot.Services...)
	slices.SortStableFunc(rows, func(a, b wire.BootService) int {
		return cmp.Or(cmp.Compare(beginOf(a), beginOf(b)), cmp.Compare(startOf(a), startOf(b)), cmp.Compare(a.Name, b.Name))
	})
	p := &plot{critical: map[string]bool{}, end: plotEnd(boot)}
	p.scale = plotBars / p.end
	for _, name := range boot.Critical {
		p.critical[name] = true
	}
	phases := bootPhases(boot)
	height := plotTop + (len(phases)+len(rows))*plotRow + 24
	p.head(boot, height)
	p.axis(height)
	y := plotTop
	for _, ph := range phases {
		p.rect(ph.begin, ph.end, y, "#8a94a6")
		p.label(ph.end, y, ph.name+", "+floatMS(ph.end-ph.begin), "#111827")
		y += plotRow
	}
	for _, s := range rows {
		p.service(s, y)
		y += plotRow
	}
	p.b.WriteString("</svg>\n")
	return p.b.String()
}

// beginOf is where a service's row begins: when it was due, else when it started, else at the end.
func beginOf(s wire.BootService) float64 {
	switch {
	case s.DueMS >= 0:
		return s.DueMS
	case s.StartMS >= 0:
		return s.StartMS
	}
	return math.MaxFloat64
}

func startOf(s wire.BootService) float64 {
	if s.StartMS < 0 {
		return math.MaxFloat64
	}
	return s.StartMS
}

func plotEnd(boot wire.Boot) float64 {
	end := max(boot.DoneMS, boot.LoadedMS, boot.ServerMS, boot.KernelMS, 1)
	for _, s := range boot.Services {
		end = max(end, s.DueMS, s.StartMS, s.ReadyMS)
	}
	return end * 1.02
}

func (p *plot) head(boot wire.Boot, height int) {
	width := plotLeft*2 + plotBars + plotLabelRoom
	fmt.Fprintf(&p.b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="12">`+"\n",
		width, height, width, height)
	fmt.Fprintf(&p.b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", width, height)
	title := "zinit boot: " + plural(len(boot.Services), "service")
	if boot.DoneMS > 0 {
		title += ", up after " + floatMS(boot.DoneMS)
	} else {
		title += ", not finished yet"
	}
	fmt.Fprintf(&p.b, `<text x="%d" y="28" font-size="17" fill="#111827">%s</text>`+"\n", plotLeft, escape(title))
	x := plotLeft
	for _, k := range []struct{ color, text string }{
		{"#d6dae1", "waited"}, {"#3b82f6", "start to ready"}, {"#dc2626", "the same, on the critical chain"}, {"#f59e0b", "not ready yet"},
	} {
		fmt.Fprintf(&p.b, `<rect x="%d" y="42" width="14" height="10" rx="2" fill="%s"/><text x="%d" y="51" fill="#374151">%s</text>`+"\n", x, k.color, x+20, k.text)
		x += 44 + int(float64(len(k.text))*plotLetter)
	}
}

// axis draws the scale and the vertical lines, at steps that people count in.
func (p *plot) axis(height int) {
	step := niceStep(p.end / 10)
	for at := 0.0; at <= p.end; at += step {
		x := p.x(at)
		fmt.Fprintf(&p.b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#e5e7eb"/><text x="%.1f" y="%d" fill="#6b7280" font-size="11" text-anchor="middle">%s</text>`+"\n",
			x, plotTop-6, x, height-16, x, plotTop-12, axisText(at, step))
	}
}

func axisText(ms, step float64) string {
	switch {
	case step < 1:
		return fmt.Sprintf("%.1f ms", ms)
	case step < 1000 && ms < 1000:
		return fmt.Sprintf("%.0f ms", ms)
	case step < 1000:
		return fmt.Sprintf("%.4g s", ms/1000)
	}
	return fmt.Sprintf("%.0f s", ms/1000)
}

// niceStep is the smallest of 1, 2 and 5 times a power of ten that is not below least.
func niceStep(least float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(least)))
	for _, factor := range []float64{1, 2, 5} {
		if factor*power >= least {
			return factor * power
		}
	}
	return 10 * power
}

func (p *plot) x(ms float64) float64 { return plotLeft + ms*p.scale }

func (p *plot) rect(begin, end float64, y int, color string) {
	fmt.Fprintf(&p.b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" rx="2" fill="%s"/>`+"\n",
		p.x(begin), y, max((end-begin)*p.scale, 1.5), plotBar, color)
}

// label stands to the right of a bar that ends at end.
func (p *plot) label(end float64, y int, text, color string) {
	fmt.Fprintf(&p.b, `<text x="%.1f" y="%d" fill="%s">%s</text>`+"\n", p.x(end)+6, y+11, color, escape(text))
}

func (p *plot) service(s wire.BootService, y int) {
	color, labelColor := "#3b82f6", "#111827"
	if p.critical[s.Name] {
		color, labelColor = "#dc2626", "#991b1b"
	}
	name := shorten(terminal.Escape(s.Name), 34)
	switch {
	case s.StartMS < 0 && s.DueMS < 0:
		p.label(0, y, name+": not started", "#6b7280")
	case s.StartMS < 0:
		p.rect(s.DueMS, p.end, y, "#d6dae1")
		p.inside(s.DueMS, y, name+": waits"+waitsFor(s))
	case s.ReadyMS < 0:
		p.waitBar(s, y)
		p.rect(s.StartMS, p.end, y, "#f59e0b")
		p.inside(s.StartMS, y, name+": not ready yet")
	default:
		p.waitBar(s, y)
		fmt.Fprintf(&p.b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="%s" stroke-opacity="0.15" stroke-width="2"/>`+"\n",
			p.x(s.ReadyMS), y+plotBar+2, p.x(p.end), y+plotBar+2, color)
		p.rect(s.StartMS, s.ReadyMS, y, color)
		p.label(s.ReadyMS, y, name+", "+floatMS(took(s)), labelColor)
	}
}

func (p *plot) waitBar(s wire.BootService, y int) {
	if s.DueMS >= 0 && s.StartMS > s.DueMS {
		p.rect(s.DueMS, s.StartMS, y, "#d6dae1")
	}
}

// inside is the label of a bar that goes on to the end of the axis.
func (p *plot) inside(begin float64, y int, text string) {
	fmt.Fprintf(&p.b, `<text x="%.1f" y="%d" fill="#111827">%s</text>`+"\n", p.x(begin)+6, y+11, escape(text))
}

func waitsFor(s wire.BootService) string {
	if s.Waited == "" {
		return ""
	}
	return " for " + shorten(terminal.Escape(s.Waited), 34)
}

func shorten(text string, limit int) string {
	if utf8.RuneCountInString(text) <= limit {
		return text
	}
	return terminal.Cut(text, limit)
}

var xmlEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;")

func escape(text string) string { return xmlEscapes.Replace(strings.ToValidUTF8(text, "�")) }
