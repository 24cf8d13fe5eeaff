/* Port and memory-mapped registers that every PC has: the way to a device and back. */
#include "io.h"
#include "layout.h"
#include "serial.h"
#include "test.h"

#define SCRATCH  (COM1 + 7)
#define PIC_MASK 0x21
#define UNCLAIMED 0x2f0
#define PCI_ADDRESS 0xcf8
#define PCI_DATA    0xcfc

#define BLOCK 4096

static void test_scratch_read(u32 iterations) {
    u32 sum = 0;
    out8(SCRATCH, 0x5a);
    begin_test();
    for (u32 i = iterations; i--;) sum += in8(SCRATCH);
    end_test(sum - iterations * 0x5a);
}

static void test_scratch_write(u32 iterations) {
    begin_test();
    while (iterations--) out8(SCRATCH, (u8)iterations);
    end_test(in8(SCRATCH));
}

static void test_pic_mask(u32 iterations) {
    u32 sum = 0;
    begin_test();
    for (u32 i = iterations; i--;) sum += in8(PIC_MASK);
    end_test(sum - iterations * 0xff);
}

static void test_unclaimed_write(u32 iterations) {
    begin_test();
    while (iterations--) out8(UNCLAIMED, (u8)iterations);
    end_test(0);
}

static void test_pci_read(u32 iterations) {
    u32 sum = 0;
    out32(PCI_ADDRESS, 0x80000000);
    u32 id = in32(PCI_DATA);
    begin_test();
    for (u32 i = iterations; i--;) sum += in32(PCI_DATA);
    end_test(sum - iterations * id);
}

static void test_outsb(u32 iterations) {
    begin_test();
    while (iterations--) {
        const void *from = (const void *)BUFFER;
        word count = BLOCK;
        __asm__ volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(SCRATCH) : "memory");
    }
    end_test(0);
}

static void test_insb(u32 iterations) {
    out8(SCRATCH, 0xc3);
    begin_test();
    while (iterations--) {
        void *to = (void *)BUFFER;
        word count = BLOCK;
        __asm__ volatile("rep insb" : "+D"(to), "+c"(count) : "d"(SCRATCH) : "memory");
    }
    end_test(*(u32 *)(BUFFER + BLOCK - 4));
}

/* --- ACPI PM timer -------------------------------------------------------------------------------------------- */

static u32 signature(const char *four) { return *(const u32 *)four; }

/* RSDP in E0000h-FFFFFh, RSDT, FADT (ACPI 6.5, 5.2.5 to 5.2.9); without tables where the PIIX4 has it by custom. */
static u16 pm_timer_port(void) {
    for (word at = 0xe0000; at < 0x100000; at += 16) {
        const u32 *rsdp = (const u32 *)at;
        if (rsdp[0] != signature("RSD ") || rsdp[1] != signature("PTR ")) continue;
        /* Revision 2 may have an XSDT alone. */
        u32 wide = rsdp[4] == 0, step = wide ? 8 : 4;
        word table = wide ? rsdp[6] : rsdp[4];
        const u32 *root = (const u32 *)table;
        for (u32 offset = 36; offset < root[1]; offset += step) {
            const u8 *fadt = (const u8 *)(word) * (const u32 *)(table + offset);
            if (*(const u32 *)fadt == signature("FACP")) return *(const u16 *)(fadt + 76);
        }
    }
    return 0xb008;
}

static void test_pm_timer(u32 iterations) {
    u16 port = pm_timer_port();
    u32 sum = 0;
    begin_test();
    while (iterations--) sum |= in32(port);
    end_test(sum == 0 || sum == 0xffffffff);
}

/* --- APICs ---------------------------------------------------------------------------------------------------- */

#define LOCAL_APIC 0xfee00000
#define IO_APIC    0xfec00000
#define APIC_ID    0x20
#define TPR        0x80
#define SELECT     0x00
#define WINDOW     0x10

static inline volatile u32 *mmio(word address) { return (volatile u32 *)address; }

static int has_apic(void) {
    if (cpuid_edx(1) & (1 << 9)) return 1;
    skip_test("no local APIC");
    return 0;
}

static void test_apic_id(u32 iterations) {
    if (!has_apic()) return;
    u32 sum = 0;
    begin_test();
    while (iterations--) sum |= *mmio(LOCAL_APIC + APIC_ID);
    end_test(sum);
}

static void test_apic_tpr(u32 iterations) {
    if (!has_apic()) return;
    begin_test();
    for (u32 i = iterations; i--;) *mmio(LOCAL_APIC + TPR) = i & 0xf0;
    end_test(*mmio(LOCAL_APIC + TPR));
}

static void test_io_apic(u32 iterations) {
    if (!has_apic()) return;
    u32 sum = 0;
    begin_test();
    for (u32 i = iterations; i--;) {
        *mmio(IO_APIC + SELECT) = 0x10 + (i & 15);
        sum |= *mmio(IO_APIC + WINDOW);
    }
    end_test(sum == 0xffffffff);
}

const Test port_tests[] = {
    {"uart-scratch-read", "access", 1, test_scratch_read},
    {"uart-scratch-write", "access", 1, test_scratch_write},
    {"pic-mask-read", "access", 1, test_pic_mask},
    {"pm-timer-read", "access", 1, test_pm_timer},
    {"unclaimed-write", "access", 1, test_unclaimed_write},
    {"pci-config-read", "access", 1, test_pci_read},
    {"rep-outsb", "byte", BLOCK, test_outsb},
    {"rep-insb", "byte", BLOCK, test_insb},
    {"apic-id-read", "access", 1, test_apic_id},
    {"apic-tpr-write", "access", 1, test_apic_tpr},
    {"io-apic-window", "2-accesses", 1, test_io_apic},
    {0, 0, 0, 0},
};
