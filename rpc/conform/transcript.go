package conform

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
)

// Line is one recorded exchange. Recv is the decoded answer (numbers as json.Number), the raw text of an answer that is
// no JSON, "<EOF>" when the peer closed, or nil when no answer came in time.
type Line struct {
	Send      string `json:"send"`
	Recv      any    `json:"recv"`
	Note      string `json:"note"`
	Fuzzy     bool   `json:"fuzzy"`     // recorded, never compared
	Unordered bool   `json:"unordered"` // arrays are compared as sets
}

// Load reads a transcript: one Line a line.
func Load(path string) ([]Line, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var lines []Line
	scanner := bufio.NewScanner(bytes.NewReader(data))
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		if len(bytes.TrimSpace(scanner.Bytes())) == 0 {
			continue
		}
		var line Line
		if err := decode(scanner.Bytes(), &line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, len(lines)+1, err)
		}
		lines = append(lines, line)
	}
	return lines, scanner.Err()
}

func decode(data []byte, v any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	return decoder.Decode(v)
}
