package machine

// PlayScript plays a script of testdata/machine from a text and returns the records that it ends with; what comes out on
// the way is not compared.
func PlayScript(text string, bugs Bugs) ([]Record, error) { return playScript(text, bugs) }
