package expression

import (
	"testing"

	resourcev1 "k8s.io/api/resource/v1"
)

// What was stored by somebody who let it pass must not stand in the way of other changes; all else is held against an upstream server in
// role/testdata/same.
func TestStoredSelectorsStay(t *testing.T) {
	class := func(expressions ...string) *resourcev1.DeviceClass {
		c := &resourcev1.DeviceClass{}
		for _, e := range expressions {
			c.Spec.Selectors = append(c.Spec.Selectors, resourcev1.DeviceSelector{CEL: &resourcev1.CELDeviceSelector{Expression: e}})
		}
		return c
	}
	for _, tt := range []struct {
		name string
		old  *resourcev1.DeviceClass
		obj  *resourcev1.DeviceClass
		want string
	}{
		{"the same", class("a"), class("a"), ""},
		{"at another place", class("a", "true"), class("true", "a"), ""},
		{"another beside it", class("a"), class("a", "1"), `spec.selectors[1].cel.expression: Invalid value: "1": must evaluate to bool or the unknown type, not int`},
		{"put right", class("a"), class("true"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if errs := CheckDeviceClass(tt.obj, tt.old); len(errs) > 0 {
				got = errs.ToAggregate().Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func BenchmarkDeviceClass(b *testing.B) {
	c := &resourcev1.DeviceClass{Spec: resourcev1.DeviceClassSpec{Selectors: []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{
		Expression: `device.driver == "a" && device.capacity["a"].b.compareTo(quantity("1")) > 0`}}}}}
	CheckDeviceClass(c, nil) // which makes the compiler
	for b.Loop() {
		CheckDeviceClass(c, nil)
	}
}
