import { describeLinux } from "./linux.ts";

describeLinux({
  kernel: "vmlinuz-686",
  initramfs: "initramfs-i386.cpio.gz",
  name: /Linux 6\.1\.0-\d+-686 i686\n$/,
});
