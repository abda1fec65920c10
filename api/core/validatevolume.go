package core

import (
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
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
		if len(bad) == 0 {
			byName[v.Name] = &v.VolumeSource
		}
		errs = append(errs, bad...)
		errs = append(errs, validateSource(&v.VolumeSource, at)...)
	}
	return byName, errs
}

// validateSource checks that a volume has one source, and the sources that users write most.
func validateSource(v *corev1.VolumeSource, path *field.Path) (errs field.ErrorList) {
	n := 0
	fields := reflect.ValueOf(*v)
	for i := range fields.NumField() {
		if fields.Field(i).IsNil() {
			continue
		}
		name, _, _ := strings.Cut(fields.Type().Field(i).Tag.Get("json"), ",")
		if n++; n > 1 {
			errs = append(errs, field.Forbidden(path.Child(name), "may not specify more than 1 volume type"))
		}
	}
	if n == 0 {
		return required(path, "must specify a volume type")
	}
	if n > 1 {
		return errs
	}
	need := func(value string, at ...string) {
		if value == "" {
			errs = append(errs, field.Required(path.Child(at[0], at[1:]...), ""))
		}
	}
	switch {
	case v.HostPath != nil:
		errs = append(errs, validateHostPath(v.HostPath, path.Child("hostPath"))...)
	case v.EmptyDir != nil:
		if l := v.EmptyDir.SizeLimit; l != nil && l.Sign() < 0 {
			errs = append(errs, field.Forbidden(path.Child("emptyDir", "sizeLimit"), "SizeLimit field must be a valid resource quantity"))
		}
	case v.Secret != nil:
		need(v.Secret.SecretName, "secret", "secretName")
		errs = append(errs, fileMode(v.Secret.DefaultMode, true, path.Child("secret", "defaultMode"))...)
		errs = append(errs, validateItems(v.Secret.Items, path.Child("secret", "items"))...)
	case v.ConfigMap != nil:
		need(v.ConfigMap.Name, "configMap", "name")
		errs = append(errs, fileMode(v.ConfigMap.DefaultMode, true, path.Child("configMap", "defaultMode"))...)
		errs = append(errs, validateItems(v.ConfigMap.Items, path.Child("configMap", "items"))...)
	case v.DownwardAPI != nil:
		errs = append(errs, fileMode(v.DownwardAPI.DefaultMode, true, path.Child("downwardAPI", "defaultMode"))...)
		errs = append(errs, validateDownward(v.DownwardAPI.Items, path.Child("downwardAPI"))...)
	case v.Projected != nil:
		errs = append(errs, fileMode(v.Projected.DefaultMode, true, path.Child("projected", "defaultMode"))...)
		errs = append(errs, validateProjected(v.Projected.Sources, path.Child("projected"))...)
	case v.PersistentVolumeClaim != nil:
		need(v.PersistentVolumeClaim.ClaimName, "persistentVolumeClaim", "claimName")
	case v.NFS != nil:
		errs = append(errs, validateNFS(v.NFS, path.Child("nfs"))...)
	case v.CSI != nil:
		errs = append(errs, driverName(v.CSI.Driver, path.Child("csi", "driver"))...)
	case v.Ephemeral != nil:
		at := path.Child("ephemeral", "volumeClaimTemplate")
		if v.Ephemeral.VolumeClaimTemplate == nil {
			return required(at, "")
		}
		errs = append(errs, ValidateClaimSpec(&v.Ephemeral.VolumeClaimTemplate.Spec, at.Child("spec"))...)
	case v.Image != nil:
		need(v.Image.Reference, "image", "reference")
		if p := v.Image.PullPolicy; p != "" {
			errs = append(errs, OneOf(p, path.Child("image", "pullPolicy"), corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
		}
	case v.GitRepo != nil:
		need(v.GitRepo.Repository, "gitRepo", "repository")
		errs = append(errs, localPath(v.GitRepo.Directory, path.Child("gitRepo", "directory"))...)
	case v.FlexVolume != nil:
		need(v.FlexVolume.Driver, "flexVolume", "driver")
	case v.ISCSI != nil:
		need(v.ISCSI.TargetPortal, "iscsi", "targetPortal")
		need(v.ISCSI.IQN, "iscsi", "iqn")
	}
	return errs
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

func validateItems(items []corev1.KeyToPath, path *field.Path) (errs field.ErrorList) {
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
	}
	return errs
}

var downwardFields = []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}

func validateDownward(items []corev1.DownwardAPIVolumeFile, path *field.Path) (errs field.ErrorList) {
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
	}
	return errs
}

func validateProjected(sources []corev1.VolumeProjection, path *field.Path) (errs field.ErrorList) {
	var taken []string
	claim := func(p, name string, at *field.Path) {
		if p != "" && slices.Contains(taken, p) {
			errs = append(errs, field.Invalid(at, name, "conflicting duplicate paths"))
		}
		taken = append(taken, p)
	}
	for i, s := range sources {
		at, n := path.Child("sources").Index(i), 0
		one := func(name string) *field.Path {
			if n++; n > 1 {
				errs = append(errs, field.Forbidden(at.Child(name), "may not specify more than 1 volume type"))
			}
			return at.Child(name)
		}
		if r := s.Secret; r != nil {
			in := one("secret")
			if r.Name == "" {
				errs = append(errs, field.Required(in.Child("name"), ""))
			}
			errs = append(errs, validateItems(r.Items, in.Child("items"))...)
			for _, item := range r.Items {
				claim(item.Path, r.Name, path)
			}
		}
		if r := s.ConfigMap; r != nil {
			in := one("configMap")
			if r.Name == "" {
				errs = append(errs, field.Required(in.Child("name"), ""))
			}
			errs = append(errs, validateItems(r.Items, in.Child("items"))...)
			for _, item := range r.Items {
				claim(item.Path, r.Name, path)
			}
		}
		if r := s.DownwardAPI; r != nil {
			errs = append(errs, validateDownward(r.Items, one("downwardAPI"))...)
			for _, item := range r.Items {
				claim(item.Path, item.Path, path)
			}
		}
		if r := s.ServiceAccountToken; r != nil {
			in := one("serviceAccountToken")
			switch {
			case r.ExpirationSeconds == nil:
				errs = append(errs, field.Required(in.Child("expirationSeconds"), ""))
			case *r.ExpirationSeconds < 10*60:
				errs = append(errs, field.Invalid(in.Child("expirationSeconds"), *r.ExpirationSeconds, "may not specify a duration less than 10 minutes"))
			case *r.ExpirationSeconds > 1<<32:
				errs = append(errs, field.Invalid(in.Child("expirationSeconds"), *r.ExpirationSeconds, "may not specify a duration larger than 2^32 seconds"))
			}
			if r.Path == "" {
				errs = append(errs, field.Required(in.Child("path"), ""))
			} else {
				errs = append(errs, localFile(r.Path, in.Child("path"))...)
			}
			claim(r.Path, r.Path, in.Child("path"))
		}
		if r := s.ClusterTrustBundle; r != nil {
			in := one("clusterTrustBundle")
			if (r.Name != nil) == (r.SignerName != nil) {
				errs = append(errs, field.Required(in, "exactly one of name and signerName must be specified"))
			}
			if r.Path == "" {
				errs = append(errs, field.Required(in.Child("path"), ""))
			}
			claim(r.Path, r.Path, in.Child("path"))
		}
		if r := s.PodCertificate; r != nil {
			in := one("podCertificate")
			errs = append(errs, validatePodCertificate(r, in)...)
			for _, p := range []struct{ field, path string }{{"credentialBundlePath", r.CredentialBundlePath}, {"keyPath", r.KeyPath}, {"certificateChainPath", r.CertificateChainPath}} {
				if p.path != "" {
					errs = append(errs, localFile(p.path, in.Child(p.field))...)
					claim(p.path, p.path, in.Child(p.field))
				}
			}
		}
		if n == 0 {
			errs = append(errs, field.Required(at, "must specify a volume type"))
		}
	}
	return errs
}
