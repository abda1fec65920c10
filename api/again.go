package api

// Again gives what tells of each value whether it was asked that of an equal one before: a list may be long, and to look at all that
// came before each of its items takes time by the square of that.
func Again[T comparable]() func(T) bool {
	var seen map[T]bool
	return func(v T) bool {
		if seen[v] {
			return true
		}
		if seen == nil {
			seen = map[T]bool{}
		}
		seen[v] = true
		return false
	}
}
