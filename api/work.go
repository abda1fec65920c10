package api

// Expressions in CEL take a thousand times their bytes and more to compile: whoever lets users write them counts first.

const (
	// perExpression is the work of compiling one, of whatever length: as that of so many words.
	perExpression = 20
	// MostWork bounds what is compiled of one object: a word takes about 2 KB and 5 us.
	MostWork = 12 << 10
)

// Work is about how many words and signs an expression in CEL has, or what takes as long to compile. Empty ones are none.
func Work(expression string) (n int) {
	if expression == "" {
		return 0
	}
	n = perExpression
	for at := 0; at < len(expression); {
		from, c := at, expression[at]
		at++
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			continue
		case c == '"' || c == '\'':
			for at < len(expression) && expression[at] != c {
				if expression[at] == '\\' {
					at++
				}
				at++
			}
			at++
		case wordly(c):
			for at < len(expression) && wordly(expression[at]) {
				at++
			}
		}
		n += 1 + (at-from)/64
	}
	return n
}

func wordly(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}
