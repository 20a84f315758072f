// Command image builds the container images without a base image and without a
// container engine: each is the files that it needs and nothing else. The same
// commit on the same machine gives the same digests.
//
//	meshlite         xds-server and meshctl, static
//	meshlite-proxy   meshctl and Envoy, with the C library that Envoy loads
//
// They are written to bin/images/NAME.tar, for `docker load` or `ctr images
// import`, and pushed where --push names a repository.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"meshlite.dev/internal/version"
)

func main() {
	push := flag.String("push", "", "repository to push to, such as images.example.com/platform")
	tag := flag.String("tag", version.Number, "tag of the images")
	out := flag.String("out", filepath.Join("bin", "images"), "folder to write to")
	bin := flag.String("bin", "bin", "folder with static xds-server and meshctl")
	envoy := flag.String("envoy", filepath.Join(".tools", "bin", "envoy"), "the Envoy of meshlite-proxy")
	flag.Parse()
	if err := run(*push, *tag, *out, *bin, *envoy); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(push, tag, out, bin, envoy string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	server, err := serverImage(bin)
	if err != nil {
		return fmt.Errorf("meshlite: %w", err)
	}
	proxy, err := proxyImage(bin, envoy)
	if err != nil {
		return fmt.Errorf("meshlite-proxy: %w", err)
	}
	for _, i := range []struct {
		name  string
		image v1.Image
	}{{"meshlite", server}, {"meshlite-proxy", proxy}} {
		if err := deliver(i.image, i.name, push, tag, out); err != nil {
			return fmt.Errorf("%s: %w", i.name, err)
		}
	}
	return nil
}

func deliver(image v1.Image, short, push, tag, out string) error {
	ref, err := name.NewTag(short + ":" + tag)
	if err != nil {
		return err
	}
	file := filepath.Join(out, short+".tar")
	if err := tarball.WriteToFile(file, ref, image); err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	fmt.Printf("%s %s %s\n", file, ref.TagStr(), digest)
	if push == "" {
		return nil
	}
	to, err := name.NewTag(push + "/" + short + ":" + tag)
	if err != nil {
		return err
	}
	if err := remote.Write(to, image, remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return fmt.Errorf("push to %s: %w", to, err)
	}
	fmt.Println("pushed", to)
	return nil
}

func serverImage(bin string) (v1.Image, error) {
	fs := &folder{}
	fs.copy(filepath.Join(bin, "xds-server"), "usr/local/bin/xds-server")
	fs.copy(filepath.Join(bin, "meshctl"), "usr/local/bin/meshctl")
	fs.certificates()
	fs.user("meshlite", 65532)
	fs.dir("var/lib/meshlite", 0o700, 65532)
	return fs.image(v1.Config{
		User: "65532:65532", Entrypoint: []string{"/usr/local/bin/xds-server"}, WorkingDir: "/var/lib/meshlite",
		Env: []string{"PATH=/usr/local/bin"},
	}, runtime.GOARCH)
}

func proxyImage(bin, envoy string) (v1.Image, error) {
	fs := &folder{}
	fs.copy(filepath.Join(bin, "meshctl"), "usr/local/bin/meshctl")
	fs.copy(envoy, "usr/local/bin/envoy")
	fs.libraries(envoy)
	fs.certificates()
	fs.user("meshlite", 15000)
	return fs.image(v1.Config{
		User: "15000:15000", Entrypoint: []string{"/usr/local/bin/meshctl"}, WorkingDir: "/tmp",
		Env: []string{"PATH=/usr/local/bin"},
	}, runtime.GOARCH)
}
