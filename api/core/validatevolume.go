package core

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// validateVolumes gives the pod's volumes by name too.
func validateVolumes(s *corev1.PodSpec, path *field.Path) (byName map[string]*corev1.VolumeSource, errs field.ErrorList) {
	byName = map[string]*corev1.VolumeSource{}
	for i := range s.Volumes {
		v, at := &s.Volumes[i], path.Index(i)
		bad := needDNSLabel(v.Name, at.Child("name"))
		if byName[v.Name] != nil {
			bad = append(bad, field.Duplicate(at.Child("name"), v.Name))
		}
		wrong := validateSource(&v.VolumeSource, at)
		if len(bad)+len(wrong) == 0 {
			byName[v.Name] = &v.VolumeSource
		}
		errs = append(append(errs, wrong...), bad...)
	}
	return byName, errs
}

var hostPathTypes = []corev1.HostPathType{corev1.HostPathUnset, corev1.HostPathBlockDev, corev1.HostPathCharDev, corev1.HostPathDirectory,
	corev1.HostPathDirectoryOrCreate, corev1.HostPathFile, corev1.HostPathFileOrCreate, corev1.HostPathSocket}

func validateHostPath(h *corev1.HostPathVolumeSource, path *field.Path) (errs field.ErrorList) {
	if h.Path == "" {
		return required(path.Child("path"), "")
	}
	errs = append(errs, noDots(h.Path, path.Child("path"))...)
	if h.Type != nil {
		errs = append(errs, OneOf(*h.Type, path.Child("type"), hostPathTypes...)...)
	}
	return errs
}

func validateNFS(n *corev1.NFSVolumeSource, path *field.Path) (errs field.ErrorList) {
	if n.Server == "" {
		errs = append(errs, field.Required(path.Child("server"), ""))
	}
	if n.Path == "" {
		errs = append(errs, field.Required(path.Child("path"), ""))
	}
	if !strings.HasPrefix(n.Path, "/") {
		errs = append(errs, field.Invalid(path.Child("path"), n.Path, "must be an absolute path"))
	}
	return errs
}

func driverName(name string, path *field.Path) (errs field.ErrorList) {
	if name == "" {
		return required(path, "")
	}
	if len(name) > 63 {
		errs = append(errs, field.TooLong(path, "", 63))
	}
	return append(errs, each(path, name, api.DNSSubdomain(strings.ToLower(name)))...)
}

func fileMode(mode *int32, must bool, path *field.Path) field.ErrorList {
	switch {
	case mode == nil && must:
		return required(path, "")
	case mode != nil && (*mode < 0 || *mode > 0o777):
		return field.ErrorList{field.Invalid(path, *mode, "must be a number between 0 and 0777 (octal), both inclusive")}
	}
	return nil
}

// fileUser checks who shall own a file.
func fileUser(uid *int64, path *field.Path) field.ErrorList {
	if uid == nil {
		return nil
	}
	return each(path, *uid, validation.IsValidUserID(*uid))
}

// validateItems checks which keys become which files; owned: whose they are as well, in a projected volume.
func validateItems(items []corev1.KeyToPath, owned bool, path *field.Path) (errs field.ErrorList) {
	for i, item := range items {
		at := path.Index(i)
		if item.Key == "" {
			errs = append(errs, field.Required(at.Child("key"), ""))
		}
		if item.Path == "" {
			errs = append(errs, field.Required(at.Child("path"), ""))
		}
		errs = append(errs, localFile(item.Path, at.Child("path"))...)
		errs = append(errs, fileMode(item.Mode, false, at.Child("mode"))...)
		if owned {
			errs = append(errs, fileUser(item.User, at.Child("user"))...)
		}
	}
	return errs
}

var downwardFields = []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}

func validateDownward(items []corev1.DownwardAPIVolumeFile, owned bool, path *field.Path) (errs field.ErrorList) {
	for _, item := range items {
		if item.Path == "" {
			errs = append(errs, field.Required(path.Child("path"), ""))
		}
		errs = append(errs, localFile(item.Path, path.Child("path"))...)
		switch {
		case item.FieldRef != nil:
			errs = append(errs, validateFieldRef(item.FieldRef, downwardFields, path.Child("fieldRef"))...)
			if item.ResourceFieldRef != nil {
				errs = append(errs, field.Invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
			}
		case item.ResourceFieldRef != nil:
			errs = append(errs, validateResourceRef(item.ResourceFieldRef, true, path.Child("resourceFieldRef"))...)
		default:
			errs = append(errs, field.Required(path, "one of fieldRef and resourceFieldRef is required"))
		}
		errs = append(errs, fileMode(item.Mode, false, path.Child("mode"))...)
		if owned {
			errs = append(errs, fileUser(item.User, path.Child("user"))...)
		}
	}
	return errs
}
