/*
 * The guest of the measurements: a menu on the serial port.
 *
 *   list                 one line a test: "test NAME OPERATIONS UNIT", operations of one iteration
 *   NAME ITERATIONS      runs one; "begin" and "end CHECKSUM" on the serial port are the marks for the host's clock
 *
 * Each answer ends with "ok". The host takes the time: no clock of the guest takes part.
 */
#include "interrupts.h"
#include "serial.h"
#include "test.h"
#include "text.h"

static const Test *const families[] = {integer_tests, memory_tests, float_tests, port_tests, system_tests};
#define FAMILIES (sizeof families / sizeof *families)

void begin_test(void) {
    put("begin\n");
    serial_drain();
}

void end_test(u32 checksum) {
    put("end ");
    put_hex(checksum);
    put("\n");
}

void skip_test(const char *why) {
    put("skip ");
    put(why);
    put("\n");
}

static void list(void) {
    for (u32 family = 0; family < FAMILIES; family++) {
        for (const Test *test = families[family]; test->name; test++) {
            put("test ");
            put(test->name);
            put_char(' ');
            put_decimal(test->operations);
            put_char(' ');
            put(test->unit);
            put_char('\n');
        }
    }
}

static void run(const char *line) {
    for (u32 family = 0; family < FAMILIES; family++) {
        for (const Test *test = families[family]; test->name; test++) {
            const char *rest = after_word(line, test->name);
            if (!rest) continue;
            u32 iterations = parse_decimal(rest);
            test->run(iterations ? iterations : 1);
            return;
        }
    }
    put("no such test\n");
}

void bench_main(void) {
    serial_init();
    interrupts_init();
    put("ready\n");
    for (;;) {
        char line[64];
        read_line(line, sizeof line);
        if (line[0] == 0) continue;
        if (after_word(line, "list")) list();
        else run(line);
        put("ok\n");
    }
}
