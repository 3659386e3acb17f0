package conform

import (
	"fmt"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// Known is one row of DIFFERENCES.md: a difference that is meant.
type Known struct {
	ID     string // D01
	Where  []Range
	Added  bool     // only members that 0.3.9 does not have
	Paths  []string // patterns as of path.Match, with . for /
	Reason string
	Hits   int
}

// Range is exchanges of one scenario, both ends included. All is any exchange of any scenario.
type Range struct {
	Scenario    string
	First, Last int
	All         bool
}

// Differences is the table of what is meant.
type Differences []*Known

var rowPattern = regexp.MustCompile(`^\| (D\d+) \| ([^|]*) \| ([^|]*) \| ([^|]*) \|`)

// LoadDifferences reads the table. A row is | id | where | path | reason |. where is scenario#3, scenario#3-7, several
// with commas, or *. path is .error.code, .result[*].text, several with blanks, or * for all; + before it means added members.
func LoadDifferences(file string) (Differences, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all Differences
	for _, line := range strings.Split(string(data), "\n") {
		cells := rowPattern.FindStringSubmatch(line)
		if cells == nil {
			continue
		}
		known := &Known{ID: cells[1], Reason: strings.TrimSpace(cells[4])}
		if known.Where, err = parseWhere(cells[2]); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", file, known.ID, err)
		}
		paths := strings.ReplaceAll(cells[3], "`", "")
		paths, known.Added = strings.CutPrefix(strings.TrimSpace(paths), "+")
		known.Paths = strings.Fields(paths)
		if len(known.Paths) == 0 || known.Reason == "" {
			return nil, fmt.Errorf("%s: %s: a path and a reason are needed", file, known.ID)
		}
		all = append(all, known)
	}
	return all, nil
}

func parseWhere(text string) ([]Range, error) {
	var ranges []Range
	for _, part := range strings.Split(text, ",") {
		part = strings.TrimSpace(part)
		if part == "*" {
			ranges = append(ranges, Range{All: true})
			continue
		}
		scenario, places, ok := strings.Cut(part, "#")
		first, last, isRange := strings.Cut(places, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.Atoi(first)
		to, err2 := strconv.Atoi(last)
		if !ok || err != nil || err2 != nil {
			return nil, fmt.Errorf("cannot read %q: scenario#number is expected", part)
		}
		ranges = append(ranges, Range{Scenario: scenario, First: from, Last: to})
	}
	return ranges, nil
}

// Explain marks every hard difference that no row explains as Open, counts the hits of rows, and returns the open ones.
func (d Differences) Explain(scenario string, found []Difference) []Difference {
	var open []Difference
	for _, difference := range found {
		if difference.Soft || d.explains(scenario, difference) {
			continue
		}
		difference.Open = true
		open = append(open, difference)
	}
	return open
}

func (d Differences) explains(scenario string, difference Difference) bool {
	explained := false
	for _, known := range d {
		if known.matches(scenario, difference) {
			known.Hits++
			explained = true
		}
	}
	return explained
}

func (k *Known) matches(scenario string, d Difference) bool {
	if k.Added && !d.Added {
		return false
	}
	here := false
	for _, r := range k.Where {
		here = here || r.All || r.Scenario == scenario && r.First <= d.Index && d.Index <= r.Last
	}
	if !here {
		return false
	}
	for _, pattern := range k.Paths {
		if pattern == "*" || matchPath(pattern, d.Path) {
			return true
		}
	}
	return false
}

// matchPath matches by members: * in a pattern stands for one member.
func matchPath(pattern, where string) bool {
	slashes := strings.NewReplacer(".", "/", "[*]", "/[]")
	ok, err := path.Match(strings.ReplaceAll(slashes.Replace(pattern), "[]", "\\[\\]"), slashes.Replace(where))
	return err == nil && ok
}
