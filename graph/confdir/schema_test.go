package confdir

import (
	"encoding/json"
	"slices"
	"testing"
)

// TestSchemaRefusesServiceBesideTarget: an editor says what the loader says.
func TestSchemaRefusesServiceBesideTarget(t *testing.T) {
	var schema struct {
		OneOf []struct {
			Required   []string       `json:"required"`
			Properties map[string]any `json:"properties"`
		} `json:"oneOf"`
	}
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		has  []string
		want int
	}{
		{[]string{"service"}, 1}, {[]string{"target"}, 1}, {[]string{"target", "service"}, 0}, {nil, 0},
		{[]string{"target", "lifecycle"}, 0}, {[]string{"service", "lifecycle"}, 1},
	} {
		matches := 0
		for _, one := range schema.OneOf {
			good := !slices.ContainsFunc(one.Required, func(k string) bool { return !slices.Contains(c.has, k) })
			for _, key := range c.has {
				good = good && one.Properties[key] != false
			}
			if good {
				matches++
			}
		}
		if matches != c.want {
			t.Errorf("a file with %v matches %d of the schema's alternatives, want %d", c.has, matches, c.want)
		}
	}
}
