package api

// HasPlan tells whether objects of i become JSON without being decoded.
func HasPlan(i *Info) bool { return planOf(i) != nil }
