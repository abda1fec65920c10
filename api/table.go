package api

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// Table gives all columns of kubectl get, in order: Name first, then the record's
// own, with Age before the first wide one. A record may place either itself, with a
// column of that name; its Show may be left out. One that places Name gets
// no Age unless it places that too.
func (i *Info) Table() []Column[Object] {
	if i.Custom != nil { // whose definition lists them all
		return i.Columns
	}
	var placed, aged bool
	for _, c := range i.Columns {
		placed = placed || c.Name == "Name"
		aged = aged || c.Name == "Age"
	}
	all := make([]Column[Object], 0, len(i.Columns)+2)
	if !placed {
		all = append(all, nameColumn)
	}
	for _, c := range i.Columns {
		switch {
		case c.Name == "Name":
			c.Type, c.Format, c.Help = nameColumn.Type, nameColumn.Format, nameColumn.Help
			if c.Show == nil {
				c.Show = nameColumn.Show
			}
		case c.Name == "Age":
			c.Help = ageColumn.Help
			if c.Show == nil {
				c.Show = ageColumn.Show
			}
		case c.Priority > 0 && !aged && !placed:
			all, aged = append(all, ageColumn), true
		}
		if c.Type == "" {
			c.Type = "string"
		}
		all = append(all, c)
	}
	if !aged && !placed {
		all = append(all, ageColumn)
	}
	return all
}

// NameColumn shows objects' names, as every table does.
func NameColumn() Column[Object] { return nameColumn }

var (
	nameColumn = Column[Object]{Name: "Name", Type: "string", Format: "name", Help: metav1.ObjectMeta{}.SwaggerDoc()["name"],
		Show: func(o Object) any { return o.GetName() }}
	ageColumn = Column[Object]{Name: "Age", Type: "string", Help: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"],
		Show: func(o Object) any { return Age(o.GetCreationTimestamp()) }}
)

// Age is how long ago t was, as kubectl get prints it: "5m", "3d4h".
func Age(t metav1.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(t.Time))
}
